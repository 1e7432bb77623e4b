/**
 * Tests of `kernels/rank_rows.*`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import { rankRows, rankRowsCommand } from "../../kernels/rank_rows.ts";
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
  readonly hasSinks?: boolean;
  /** Lists that rank together, per sequence; 1 if left out. */
  readonly joinedLists?: readonly number[];
  /** Newest tokens that are seen; all if left out. */
  readonly window?: number;
}

const BASE = { queryHeads: 6, groupHeads: 3, groupOffset: 2, groups: 6 };

const CASES: Case[] = [
  { lengths: [0], queryHeads: 1, groupHeads: 1, groupOffset: 0, groups: 1, capacity: 4 },
  { ...BASE, lengths: [63, 64], capacity: 92 },
  { ...BASE, lengths: [127, 128, 5], capacity: 132, hasSinks: true },
  { ...BASE, lengths: [30, 513], firstSequence: 1, capacity: 516, window: 40 },
  { ...BASE, lengths: [20, 33], capacity: 40, joinedLists: [2, 1] },
  { ...BASE, queryHeads: 12, groupHeads: 1, groups: 24, lengths: [700], capacity: 704 },
];

function rankRun(sizes: Case): ArrayRun<typeof rankRows> {
  const { lengths, queryHeads, groupHeads, groupOffset, groups, capacity } = sizes;
  const { firstSequence = 0, window = Infinity } = sizes;
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
      joined: Uint32Array.from(lengths, (_, i) => groupHeads * (sizes.joinedLists?.[i] ?? 1)),
      sink_logits: Float32Array.from({ length: queryHeads }, () => 4 + 6 * random()),
      rows,
      saliency: new Float32Array(sequences * groups * capacity).fill(NaN),
    },
    params: {
      query_heads: queryHeads,
      group_heads: groupHeads,
      group_offset: groupOffset,
      groups,
      capacity,
      has_sinks: sizes.hasSinks ? 1 : 0,
    },
    grid: [queryHeads / groupHeads, sequences - firstSequence, 1],
  };
}

for (const sizes of CASES) {
  kernelTest({
    name: `rankRows matches its twin for ${JSON.stringify(sizes)}`,
    async fn(device) {
      const run = rankRun(sizes);
      const after = await runKernel(rankRows, run, { device });
      const expected = await runReference(rankRows, run);
      for (const name of ["rows", "saliency"] as const) {
        const isPast = (value: number) => Number.isNaN(value);
        assertEquals([...after[name]].map(isPast), [...expected[name]].map(isPast), name);
        const known = (values: Float32Array) => values.filter((value) => Math.abs(value) <= 1);
        assertClose(known(after[name]), known(expected[name]), { terms: 60, magnitude: 1 });
      }
    },
  });
}

Deno.test("rankRowsCommand() refuses lists beyond those of all layers", () => {
  const buffers = {} as Parameters<typeof rankRowsCommand>[0];
  assertThrows(
    () => rankRowsCommand(buffers, { ...BASE, groupOffset: 5, sequences: 1, capacity: 8 }),
    RequirementError,
    "groupOffset must be an integer from 0 to 4: current value is 5",
  );
});
