/**
 * Invariant 18 of docs/method.md: the worked example of attention on devices. The tables of splits are in
 * `tests/cache/budget_test.ts`, the example in float64 in `tests/kernels/marginal_test.ts`.
 */

import { assert } from "@std/assert";
import { testBackends, testDevice } from "../support/gpu.ts";
import { attend, type Call, type KernelMode, softmaxRows } from "./attend.ts";

const LOGITS = [2, 1, 0, -1, 0.5, 1.5];
const HEAD_DIM = 16;

/** Scores and values in the first element of each head vector; the newest token is one of the full ones. */
function example(smallModel: readonly number[]): Call {
  const first = (values: readonly number[]) =>
    Float32Array.from(values.flatMap((value) => [value, ...new Array(HEAD_DIM - 1).fill(0)]));
  return {
    kvHeads: 1,
    queryHeads: 1,
    headDim: HEAD_DIM,
    tokens: 6,
    queries: first([Math.sqrt(HEAD_DIM)]),
    keys: first(LOGITS),
    values: first([1, 2, 3, 4, 5, 6]),
    small: Float32Array.from(smallModel),
    kept: [0, 1, 5],
    marginal: [2, 4],
  };
}

const OUTPUTS: readonly [KernelMode, number, number][] = [
  ["joint", 2.980020, 2.956266],
  ["mass_split", 2.972289, 2.951377],
  ["additive", 3.462303, 3.360940],
  ["eq6_est", 2.890619, 2.894493],
];

for (const backend of testBackends) {
  Deno.test(`18: attention gives the outputs of the worked example, with its small model and an identical one, on ${backend}`, async () => {
    const device = await testDevice(backend);
    const own = example([0.42, 0.12, 0.08, 0.03, 0.10, 0.25]);
    const identical = example([...softmaxRows(own, [0, 1, 2, 3, 4, 5])[0]!]);
    for (const [mode, output, withIdentical] of OUTPUTS) {
      const pairs = [[own, output], [identical, withIdentical]] as const;
      for (const [call, expected] of pairs) {
        const [actual] = await attend(device, call, mode);
        assert(Math.abs(actual! - expected) < 2e-6, `${mode}: ${actual} instead of ${expected}`);
      }
    }
    const [exact] = await attend(device, { ...own, marginal: [] }, "joint");
    assert(Math.abs(exact! - 2.722303) < 2e-6, `kept tokens alone: ${exact}`);
  });
}
