/**
 * Tests of `kernels/softmax_rows.*`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import { softmaxRows, softmaxRowsCommand } from "../../kernels/softmax_rows.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest } from "../support/gpu.ts";
import { type ArrayRun, runKernel, runReference } from "../support/run_kernel.ts";

interface Case {
  readonly lengths: readonly number[];
  readonly firstSequence?: number;
  readonly queryHeads: number;
  readonly capacity: number;
  readonly hasSinks?: boolean;
  /** Newest tokens that are seen; all if left out. */
  readonly window?: number;
}

const CASES: Case[] = [
  { lengths: [0], queryHeads: 1, capacity: 4 },
  { lengths: [63, 64], queryHeads: 6, capacity: 92 },
  { lengths: [127, 128, 5], queryHeads: 6, capacity: 132, hasSinks: true },
  { lengths: [30, 513], firstSequence: 1, queryHeads: 6, capacity: 516, window: 40 },
  { lengths: [700], queryHeads: 12, capacity: 704 },
];

function softmaxRun(sizes: Case): ArrayRun<typeof softmaxRows> {
  const { lengths, queryHeads, capacity, firstSequence = 0, window = Infinity } = sizes;
  const random = seededRandom(8);
  const sequences = lengths.length;
  const rows = new Float32Array(sequences * queryHeads * capacity).fill(NaN);
  for (let row = 0; row < sequences * queryHeads; row++) {
    const length = lengths[Math.floor(row / queryHeads)]!;
    for (let token = 0; token < 4 * Math.floor(length / 4 + 1); token++) {
      const isSeen = token <= length && length - token < window;
      rows[row * capacity + token] = isSeen ? 20 * random() - 5 : -3.4e38;
    }
  }
  return {
    buffers: {
      state: Uint32Array.of(firstSequence, ...lengths),
      sink_logits: Float32Array.from({ length: queryHeads }, () => 4 + 6 * random()),
      rows,
    },
    params: { query_heads: queryHeads, capacity, has_sinks: sizes.hasSinks ? 1 : 0 },
    grid: [queryHeads, sequences - firstSequence, 1],
  };
}

for (const sizes of CASES) {
  kernelTest({
    name: `softmaxRows matches its twin for ${JSON.stringify(sizes)}`,
    async fn(device) {
      const run = softmaxRun(sizes);
      const { rows } = await runKernel(softmaxRows, run, { device });
      const { rows: expected } = await runReference(softmaxRows, run);
      // What lies past a row, or belongs to sequences that are not of the step, stays.
      const isOutside = (value: number) => !(Math.abs(value) <= 1);
      assertEquals([...rows].map(isOutside), [...expected].map(isOutside));
      const inside = (values: Float32Array) => values.filter((value) => !isOutside(value));
      assertClose(inside(rows), inside(expected), { terms: 60, magnitude: 1 });
    },
  });
}

Deno.test("softmaxRowsCommand() refuses a capacity that is not a multiple of 4", () => {
  const buffers = {} as Parameters<typeof softmaxRowsCommand>[0];
  assertThrows(
    () => softmaxRowsCommand(buffers, { queryHeads: 6, sequences: 1, capacity: 6 }),
    RequirementError,
    "capacity / 4 must be an integer at least 1: current value is 1.5",
  );
});
