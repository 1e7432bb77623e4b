/**
 * Tests of `kernels/mean_rows.*`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import { meanRows, meanRowsCommand } from "../../kernels/mean_rows.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest } from "../support/gpu.ts";
import { type ArrayRun, runKernel, runReference } from "../support/run_kernel.ts";

interface Case {
  readonly lengths: readonly number[];
  readonly firstSequence?: number;
  readonly queryHeads: number;
  readonly groupHeads: number;
  readonly groupOffset: number;
  readonly groups: number;
  readonly capacity: number;
  /** Lists that rank together, per sequence; 1 if left out. */
  readonly joinedLists?: readonly number[];
}

const BASE = { queryHeads: 6, groupHeads: 3, groupOffset: 2, groups: 6 };

const CASES: Case[] = [
  { lengths: [0], queryHeads: 1, groupHeads: 1, groupOffset: 0, groups: 1, capacity: 4 },
  { ...BASE, lengths: [63, 64, 5], capacity: 92 },
  { ...BASE, lengths: [30, 513], firstSequence: 1, capacity: 516 },
  { ...BASE, lengths: [20, 33], capacity: 40, joinedLists: [2, 1] },
  { ...BASE, queryHeads: 12, groupHeads: 1, groups: 24, lengths: [700], capacity: 704 },
];

function meanRun(sizes: Case): ArrayRun<typeof meanRows> {
  const { lengths, queryHeads, groupHeads, groupOffset, groups, capacity, firstSequence = 0 } =
    sizes;
  const random = seededRandom(9);
  const sequences = lengths.length;
  return {
    buffers: {
      state: Uint32Array.of(firstSequence, ...lengths),
      joined: Uint32Array.from(lengths, (_, i) => groupHeads * (sizes.joinedLists?.[i] ?? 1)),
      rows: Float32Array.from({ length: sequences * queryHeads * capacity }, random),
      saliency: new Float32Array(sequences * groups * capacity).fill(NaN),
    },
    params: {
      query_heads: queryHeads,
      group_heads: groupHeads,
      group_offset: groupOffset,
      groups,
      capacity,
    },
    grid: [Math.ceil(capacity / 256), queryHeads / groupHeads, sequences - firstSequence],
  };
}

for (const sizes of CASES) {
  kernelTest({
    name: `meanRows matches its twin for ${JSON.stringify(sizes)}`,
    async fn(device) {
      const run = meanRun(sizes);
      const { saliency } = await runKernel(meanRows, run, { device });
      const { saliency: expected } = await runReference(meanRows, run);
      assertEquals([...saliency].map(Number.isNaN), [...expected].map(Number.isNaN));
      const known = (values: Float32Array) => values.filter((value) => !Number.isNaN(value));
      assertClose(known(saliency), known(expected), { terms: 12, magnitude: 1 });
    },
  });
}

Deno.test("meanRowsCommand() refuses lists beyond those of all layers", () => {
  const buffers = {} as Parameters<typeof meanRowsCommand>[0];
  assertThrows(
    () => meanRowsCommand(buffers, { ...BASE, groupOffset: 5, sequences: 1, capacity: 8 }),
    RequirementError,
    "groupOffset must be an integer from 0 to 4: current value is 5",
  );
});
