/**
 * Tests of `kernels/scatter_scores.*`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import {
  scatterScores,
  scatterScoresCommand,
  scatterScoresGrid,
} from "../../kernels/scatter_scores.ts";
import { BROKEN_LIST, LIST_HEADER_WORDS } from "../../kernels/selection_list.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest, testBackends, testDevice } from "../support/gpu.ts";
import { type ArrayRun, runKernel, runReference } from "../support/run_kernel.ts";

interface Case {
  readonly sequences: number;
  readonly groupsPerLayer: number;
  readonly groupHeads: number;
  readonly capacity: number;
  readonly decay: number;
}

const CASES: Case[] = [
  { sequences: 1, groupsPerLayer: 1, groupHeads: 1, capacity: 1, decay: 1 },
  { sequences: 2, groupsPerLayer: 2, groupHeads: 7, capacity: 130, decay: 1 },
  { sequences: 3, groupsPerLayer: 1, groupHeads: 6, capacity: 600, decay: 0 },
  { sequences: 1, groupsPerLayer: 12, groupHeads: 1, capacity: 65, decay: 0.5 },
];

/** The second of three layers; each list holds a random half of the tokens. */
function scatterRun(sizes: Case): ArrayRun<typeof scatterScores> {
  const { sequences, groupsPerLayer, groupHeads, capacity, decay } = sizes;
  const random = seededRandom(8);
  const groups = 3 * groupsPerLayer;
  const listWords = LIST_HEADER_WORDS + groupHeads + 2 * capacity;
  const lists = new Uint32Array(sequences * groups * listWords);
  for (let headGroup = 0; headGroup < sequences * groups; headGroup++) {
    let kept = 0;
    const start = headGroup * listWords + LIST_HEADER_WORDS + groupHeads;
    for (let token = 0; token < capacity; token++) {
      if (random() < 0.5) lists[start + 2 * kept++] = token;
    }
    lists[headGroup * listWords] = kept;
  }
  const attentionStride = capacity + 3;
  return {
    buffers: {
      lists,
      attention: Float32Array.from(
        { length: sequences * groupsPerLayer * groupHeads * attentionStride },
        random,
      ),
      large_scores: Float32Array.from(
        { length: sequences * groups * capacity },
        () => 4 * random(),
      ),
    },
    params: {
      groups_per_layer: groupsPerLayer,
      group_offset: groupsPerLayer,
      groups,
      group_heads: groupHeads,
      list_words: listWords,
      capacity,
      attention_stride: attentionStride,
      decay,
    },
    grid: scatterScoresGrid({ ...sizes, listWords }),
  };
}

for (const sizes of CASES) {
  kernelTest({
    name: `scatterScores matches its twin for ${JSON.stringify(sizes)}`,
    async fn(device) {
      const run = scatterRun(sizes);
      const { large_scores } = await runKernel(scatterScores, run, { device });
      const expected = await runReference(scatterScores, run);
      assertClose(large_scores, expected.large_scores, {
        terms: sizes.groupHeads + 2,
        magnitude: 8,
      });
      const isOther = (_: number, i: number) =>
        Math.floor(i / sizes.capacity / sizes.groupsPerLayer) % 3 !== 1;
      assertEquals(large_scores.filter(isOther), run.buffers.large_scores.filter(isOther));
    },
  });
}

Deno.test("scatterScores skips a broken list", async () => {
  const run = scatterRun(CASES[1]!);
  for (let i = 0; i < run.buffers.lists.length; i += run.params.list_words) {
    run.buffers.lists[i] = BROKEN_LIST;
  }
  for (const backend of testBackends) {
    const device = await testDevice(backend);
    const { large_scores } = await runKernel(scatterScores, run, { device });
    assertEquals(large_scores, run.buffers.large_scores);
  }
});

Deno.test("scatterScoresCommand() refuses a layer outside", () => {
  const buffers = {} as Parameters<typeof scatterScoresCommand>[0];
  const shape = { ...CASES[1]!, groups: 6, listWords: 100, attentionStride: 130, isSum: true };
  assertThrows(
    () => scatterScoresCommand(buffers, { ...shape, groupOffset: 5 }),
    RequirementError,
    "groupOffset must be an integer from 0 to 4: current value is 5",
  );
});
