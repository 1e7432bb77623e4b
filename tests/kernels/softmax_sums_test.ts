/**
 * Tests of `kernels/softmax_sums.*`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import type { Device } from "../../gpu/device.ts";
import { attentionParams } from "../../kernels/attention_shape.ts";
import {
  BLOCK_ROWS,
  softmaxSums,
  softmaxSumsBlocks,
  type SoftmaxSumsBuffers,
  softmaxSumsCommand,
} from "../../kernels/softmax_sums.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest } from "../support/gpu.ts";
import { runKernel } from "../support/run_kernel.ts";
import {
  ATTENTION_CASES,
  attentionAllowance,
  attentionArrays,
  type AttentionCase,
  runTwin,
  shapeOf,
} from "./attention_cases.ts";

const F32 = { queryHeads: 4, kvHeads: 2, headDim: 24, keyFormat: "f32" } as const;
/** Those of one sequence without masks, several blocks of rows, and rows past the capacity. */
const CASES: readonly AttentionCase[] = [
  ...ATTENTION_CASES.filter(({ cached, isMasked, ring }) =>
    cached.length === 1 && !isMasked && ring === undefined
  ),
  // So many keys that loops of one piece a turn would end early on lavapipe.
  { ...F32, queryHeads: 1, kvHeads: 1, headDim: 128, rowsPerSequence: BLOCK_ROWS, cached: [8192] },
  { ...F32, rowsPerSequence: 2 * BLOCK_ROWS + 5, cached: [70], firstSequence: 2 },
  { ...F32, rowsPerSequence: 2 * BLOCK_ROWS + 5, cached: [2], window: 40, hasSinks: true },
  { ...F32, rowsPerSequence: 2 * BLOCK_ROWS + 5, cached: [20], spare: -3 },
  { ...F32, rowsPerSequence: 3 * BLOCK_ROWS, cached: [9], spare: -2 * BLOCK_ROWS },
];

async function sumsOf(sizes: AttentionCase, device: Device) {
  const shape = shapeOf(sizes);
  const { state, qkv, keys, sinks } = attentionArrays(sizes);
  const blocks = softmaxSumsBlocks(shape.rowsPerSequence);
  const before = Float32Array.from(
    { length: blocks * shape.queryHeads * shape.capacity },
    (_, index) => index % 7,
  );
  const run = {
    buffers: { state, qkv, keys, sums: before, ...(sinks && { sinks }) },
    params: attentionParams(shape),
    grid: [blocks, shape.queryHeads, 1] as const,
  };
  const kernel = softmaxSums({ ...shape, subgroupSize: 0 });
  return {
    before,
    actual: (await runKernel(kernel, run, { device })).sums,
    expected: (await runTwin(kernel, run)).sums,
  };
}

for (const sizes of CASES) {
  kernelTest({
    name: `softmaxSums adds what its twin adds for ${JSON.stringify(sizes)}`,
    async fn(device) {
      const { actual, expected } = await sumsOf(sizes, device);
      const { terms } = attentionAllowance(shapeOf(sizes));
      assertClose(actual, expected, { terms, magnitude: 8 });
    },
  });
}

kernelTest({
  name: "softmaxSums adds one per head and row up to the capacity",
  async fn(device) {
    for (const [sizes, rows] of [[CASES.at(-1)!, BLOCK_ROWS], [CASES.at(-2)!, 66]] as const) {
      const { actual, before } = await sumsOf(sizes, device);
      const added = actual.reduce((sum, value, index) => sum + value - before[index]!, 0);
      assertClose([added], [rows * sizes.queryHeads], { terms: actual.length, magnitude: 8 });
    }
  },
});

Deno.test("softmaxSumsCommand() wants one sequence without masks", () => {
  const buffers = {} as unknown as SoftmaxSumsBuffers;
  const shape = shapeOf({ ...F32, rowsPerSequence: 3, cached: [1] });
  assertEquals(softmaxSumsBlocks(BLOCK_ROWS + 1), 2);
  for (const [change, text] of [[{ sequences: 2 }, "sequences"], [{ isMasked: true }, "masks"]]) {
    const call = () => softmaxSumsCommand(buffers, { ...shape, ...(change as object) });
    assertThrows(call, RequirementError, `Cannot sum attention: ${text}`);
  }
});
