/**
 * Tests of `kernels/sketch_scores.*`.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { scoresVariant, sketchScores, sketchScoresCommand } from "../../kernels/sketch_scores.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";
import { scoresRun, SKETCH_CASES } from "./sketch_cases.ts";

for (const sizes of SKETCH_CASES) {
  for (const isOwn of [false, true]) {
    const lanes = isOwn ? "the device's lanes" : "lanes that share memory";
    kernelTest({
      name: `sketchScores matches its twin for ${JSON.stringify(sizes)} and ${lanes}`,
      async fn(device) {
        const shape = { ...sizes, queryHeads: sizes.kvHeads * sizes.group };
        const shared = scoresVariant({ subgroupSize: 0 }, shape);
        const variant = isOwn ? scoresVariant(device.info, shape) : shared;
        const run = scoresRun(sizes, variant);
        const { rows } = await runKernel(sketchScores(variant), run, { device });
        const expected = await runReference(sketchScores(shared), scoresRun(sizes, shared));
        const isPast = (value: number) => Number.isNaN(value);
        assertEquals([...rows].map(isPast), [...expected.rows].map(isPast));
        const isHidden = (value: number) => value < -1e38;
        assertEquals([...rows].map(isHidden), [...expected.rows].map(isHidden));
        const written = (values: Float32Array) =>
          values.filter((value) => !isPast(value) && !isHidden(value));
        assertClose(written(rows), written(expected.rows), { terms: sizes.headDim, magnitude: 16 });
      },
    });
  }
}

Deno.test("scoresVariant() lets as many heads share a lane as divide a group, at most 8", () => {
  const shape = { headDim: 64, bits: 2, kvHeads: 2 } as const;
  const heads = [2, 12, 14, 18, 22, 32].map((queryHeads) =>
    scoresVariant({ subgroupSize: 0 }, { ...shape, queryHeads }).heads
  );
  assertEquals(heads, [1, 6, 7, 3, 1, 8]);
  assert(scoresVariant({ subgroupSize: 8 }, { ...shape, queryHeads: 2 }).lanes === 8);
});

Deno.test("sketchScoresCommand() refuses query heads that KV heads do not divide", () => {
  const buffers = {} as Parameters<typeof sketchScoresCommand>[1];
  const shape = { headDim: 64, bits: 2, sequences: 1, queryHeads: 3, kvHeads: 2 } as const;
  assertThrows(
    () => sketchScoresCommand({ subgroupSize: 0 }, buffers, { ...shape, capacity: 8 }),
    RequirementError,
    "queryHeads / kvHeads must be an integer at least 1: current value is 1.5",
  );
});
