/**
 * Tests of `kernels/matched_saliency.*`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import {
  matchedSaliency,
  matchedSaliencyCommand,
  matchedSaliencyGrid,
} from "../../kernels/matched_saliency.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest, testBackends, testDevice } from "../support/gpu.ts";
import { type ArrayRun, runKernel, runReference } from "../support/run_kernel.ts";

interface Case {
  readonly lengths: readonly number[];
  readonly firstSequence?: number;
  readonly heads: number;
  readonly groups: number;
  readonly groupHeads: number;
  readonly capacity: number;
  readonly reduction: number;
  /** Head groups that join, per sequence; 1 if left out. */
  readonly joinedGroups?: readonly number[];
}

const CASES: Case[] = [
  { lengths: [0], heads: 1, groups: 1, groupHeads: 1, capacity: 4, reduction: 0 },
  { lengths: [63, 64], heads: 13, groups: 6, groupHeads: 7, capacity: 92, reduction: 0 },
  { lengths: [511, 512, 5], heads: 8, groups: 3, groupHeads: 6, capacity: 516, reduction: 1 },
  {
    lengths: [9, 99],
    firstSequence: 1,
    heads: 6,
    groups: 12,
    groupHeads: 1,
    capacity: 100,
    reduction: 2,
  },
  {
    lengths: [20, 33, 8],
    heads: 9,
    groups: 6,
    groupHeads: 3,
    capacity: 40,
    reduction: 0,
    joinedGroups: [1, 3, 2],
  },
  { lengths: [700], heads: 336, groups: 56, groupHeads: 6, capacity: 704, reduction: 2 },
];

function saliencyRun(sizes: Case): ArrayRun<typeof matchedSaliency> {
  const { lengths, heads, groups, groupHeads, capacity, reduction, firstSequence = 0 } = sizes;
  const random = seededRandom(5);
  const sequences = lengths.length;
  return {
    buffers: {
      state: Uint32Array.of(firstSequence, ...lengths),
      scores: Float32Array.from({ length: sequences * heads * capacity }, random),
      matched: Uint32Array.from(
        { length: sequences * groups * groupHeads },
        () => Math.floor(heads * random()),
      ),
      joined: Uint32Array.from(lengths, (_, i) => groupHeads * (sizes.joinedGroups?.[i] ?? 1)),
      saliency: new Float32Array(sequences * groups * capacity).fill(NaN),
    },
    params: { groups, group_heads: groupHeads, heads, capacity, reduction },
    grid: matchedSaliencyGrid({ ...sizes, sequences: sequences - firstSequence }),
  };
}

for (const sizes of CASES) {
  kernelTest({
    name: `matchedSaliency matches its twin for ${JSON.stringify(sizes)}`,
    async fn(device) {
      const run = saliencyRun(sizes);
      const { saliency } = await runKernel(matchedSaliency, run, { device });
      const expected = await runReference(matchedSaliency, run);
      const isPast = (value: number) => Number.isNaN(value);
      assertEquals([...saliency].map(isPast), [...expected.saliency].map(isPast));
      const written = (values: Float32Array) => values.filter((value) => !isPast(value));
      assertClose(written(saliency), written(expected.saliency), {
        terms: 3 * sizes.groupHeads,
        magnitude: 3 * sizes.groupHeads,
      });
    },
  });
}

Deno.test("matchedSaliency joins the matched heads by mean, sum or maximum", async () => {
  const base = saliencyRun({ ...CASES[0]!, heads: 3, groupHeads: 2 });
  for (const [reduction, expected] of [0.375, 0.75, 0.5].entries()) {
    const run = {
      ...base,
      buffers: {
        ...base.buffers,
        scores: Float32Array.from({ length: 12 }, (_, i) => [0.25, 8, 0.5][i >> 2]!),
        matched: Uint32Array.of(2, 0),
      },
      params: { ...base.params, reduction },
    };
    for (const backend of testBackends) {
      const device = await testDevice(backend);
      const { saliency } = await runKernel(matchedSaliency, run, { device });
      assertEquals(saliency[0], expected);
    }
  }
});

Deno.test("matchedSaliencyCommand() refuses an unknown reduction and a capacity that is not a multiple of 4", () => {
  const buffers = {} as Parameters<typeof matchedSaliencyCommand>[0];
  assertThrows(
    () => matchedSaliencyCommand(buffers, { ...CASES[1]!, sequences: 1, reduction: 3 }),
    RequirementError,
    "reduction must be an integer from 0 to 2: current value is 3",
  );
  assertThrows(
    () => matchedSaliencyCommand(buffers, { ...CASES[1]!, sequences: 1, capacity: 90 }),
    RequirementError,
    "capacity / 4 must be an integer at least 1: current value is 22.5",
  );
});
