/**
 * Tests of `kernels/update_scores.*`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import {
  updateScores,
  updateScoresCommand,
  updateScoresGrid,
} from "../../kernels/update_scores.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";

const CASES = [
  { lengths: [0], heads: 1, capacity: 4, decays: [1] },
  { lengths: [63, 64, 65], heads: 3, capacity: 132, decays: [0.5, 1, 0] },
  { lengths: [1023, 1024, 17], heads: 5, capacity: 1100, decays: [0, 0.25, 0.9] },
  { lengths: [0, 299], firstSequence: 1, heads: 336, capacity: 300, decays: [0, 0.8] },
];

for (const sizes of CASES) {
  kernelTest({
    name: `updateScores matches its twin for ${JSON.stringify(sizes)}`,
    async fn(device) {
      const { lengths, heads, capacity, decays, firstSequence = 0 } = sizes;
      const random = seededRandom(4);
      const length = lengths.length * heads * capacity;
      const run = {
        buffers: {
          state: Uint32Array.of(firstSequence, ...lengths),
          rows: Float32Array.from({ length }, random),
          decays: Float32Array.from(decays),
          scores: Float32Array.from({ length }, random),
        },
        params: { heads, capacity },
        grid: updateScoresGrid({ ...sizes, sequences: lengths.length - firstSequence }),
      };
      const { scores } = await runKernel(updateScores, run, { device });
      const expected = await runReference(updateScores, run);
      assertClose(scores, expected.scores, { terms: 2, magnitude: 2 });
      const isPast = (_: number, i: number) => {
        const sequence = Math.floor(i / heads / capacity);
        return sequence < firstSequence || i % capacity > lengths[sequence]!;
      };
      assertEquals(scores.filter(isPast), run.buffers.scores.filter(isPast));
    },
  });
}

Deno.test("updateScoresCommand() refuses sizes that are not positive, and a capacity that is not a multiple of 4", () => {
  const buffers = {} as Parameters<typeof updateScoresCommand>[0];
  const command = (heads: number, capacity: number) => () =>
    updateScoresCommand(buffers, { sequences: 1, heads, capacity });
  assertThrows(
    command(0, 8),
    RequirementError,
    "heads must be an integer at least 1: current value is 0",
  );
  assertThrows(
    command(1, 9),
    RequirementError,
    "capacity / 4 must be an integer at least 1: current value is 2.25",
  );
});
