/**
 * Tests of `kernels/listed_rows.*`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import {
  listedRows,
  listedRowsCommand,
  listedRowsGrid,
  type ListedRowsShape,
} from "../../kernels/listed_rows.ts";
import { LIST_HEADER_WORDS } from "../../kernels/selection_list.ts";
import { kernelTest, testBackends, testDevice } from "../support/gpu.ts";
import { type ArrayRun, runKernel, runReference } from "../support/run_kernel.ts";

interface Case {
  readonly groupsPerLayer: number;
  readonly groupHeads: number;
  readonly capacity: number;
  /** Tokens of each sequence, including the newest. */
  readonly tokens: readonly number[];
  /** Sequences before the first of the step. */
  readonly firstSequence: number;
  /** Chance of a token to be listed. */
  readonly share: number;
}

const CASES: Case[] = [
  { groupsPerLayer: 1, groupHeads: 1, capacity: 1, tokens: [1], firstSequence: 0, share: 1 },
  {
    groupsPerLayer: 2,
    groupHeads: 7,
    capacity: 131,
    tokens: [131, 64],
    firstSequence: 0,
    share: 0.4,
  },
  { groupsPerLayer: 1, groupHeads: 6, capacity: 700, tokens: [513], firstSequence: 1, share: 0.1 },
  {
    groupsPerLayer: 4,
    groupHeads: 1,
    capacity: 65,
    tokens: [63, 2, 65],
    firstSequence: 0,
    share: 0,
  },
  { groupsPerLayer: 2, groupHeads: 2, capacity: 512, tokens: [512], firstSequence: 0, share: 1 },
];

const LAYERS = 3;

/** The second of three layers; each list holds a random part of the tokens, the newest one always. */
function rowsRun(sizes: Case): ArrayRun<typeof listedRows> {
  const { groupsPerLayer, groupHeads, capacity, tokens, firstSequence, share } = sizes;
  const random = seededRandom(12);
  const groups = LAYERS * groupsPerLayer;
  const sequences = firstSequence + tokens.length;
  const listWords = LIST_HEADER_WORDS + groupHeads + 2 * capacity;
  const lists = new Uint32Array(sequences * groups * listWords);
  const lengths = [...new Array<number>(firstSequence).fill(0), ...tokens];
  for (let headGroup = 0; headGroup < sequences * groups; headGroup++) {
    const length = lengths[Math.floor(headGroup / groups)]!;
    const start = headGroup * listWords + LIST_HEADER_WORDS + groupHeads;
    let kept = 0;
    for (let token = 0; token < length; token++) {
      if (random() < share || token === length - 1) lists[start + 2 * kept++] = token;
    }
    lists[headGroup * listWords] = kept;
  }
  const heads = groupsPerLayer * groupHeads;
  const shape = {
    ...sizes,
    sequences: tokens.length,
    groupOffset: groupsPerLayer,
    groups,
    listWords,
  };
  return {
    buffers: {
      state: Uint32Array.of(firstSequence, ...lengths.map((length) => Math.max(0, length - 1))),
      lists,
      attention: Float32Array.from({ length: tokens.length * heads * (capacity + 3) }, random),
      rows: new Float32Array(sequences * LAYERS * heads * capacity).fill(NaN),
    },
    params: {
      groups_per_layer: groupsPerLayer,
      group_offset: groupsPerLayer,
      groups,
      group_heads: groupHeads,
      list_words: listWords,
      capacity,
      attention_stride: capacity + 3,
      head_offset: heads,
      heads_total: LAYERS * heads,
    },
    grid: listedRowsGrid(shape),
  };
}

for (const sizes of CASES) {
  kernelTest({
    name: `listedRows gives the bits of its twin for ${JSON.stringify(sizes)}`,
    async fn(device) {
      const run = rowsRun(sizes);
      const { rows } = await runKernel(listedRows, run, { device });
      assertEquals(rows, (await runReference(listedRows, run)).rows);
    },
  });
}

Deno.test("listedRows moves attention to its tokens, leaves no gap before the newest token and writes nothing after it", async () => {
  // The third token comes after the newest one.
  const lists = Uint32Array.of(3, 0, 0, 0, 9, 9, 1, 70, 4, 71, 5, 72, 0, 0);
  const run: ArrayRun<typeof listedRows> = {
    buffers: {
      state: Uint32Array.of(0, 4),
      lists,
      attention: Float32Array.of(0.25, 0.75, NaN, 0.5, 0.5, NaN),
      rows: new Float32Array(12).fill(7),
    },
    params: {
      groups_per_layer: 1,
      group_offset: 0,
      groups: 1,
      group_heads: 2,
      list_words: 14,
      capacity: 6,
      attention_stride: 3,
      head_offset: 0,
      heads_total: 2,
    },
    grid: [1, 2, 1],
  };
  const expected = Float32Array.of(0, 0.25, 0, 0, 0.75, 7, 0, 0.5, 0, 0, 0.5, 7);
  for (const backend of testBackends) {
    const device = await testDevice(backend);
    assertEquals((await runKernel(listedRows, run, { device })).rows, expected);
  }
});

Deno.test("listedRowsCommand() refuses heads and selections outside", () => {
  const buffers = {} as Parameters<typeof listedRowsCommand>[0];
  const shape: ListedRowsShape = {
    sequences: 1,
    groupsPerLayer: 2,
    groupOffset: 4,
    groups: 6,
    groupHeads: 7,
    listWords: 100,
    capacity: 40,
    attentionStride: 40,
    heads: { offset: 28, total: 42 },
  };
  assertThrows(
    () => listedRowsCommand(buffers, { ...shape, groupOffset: 5 }),
    RequirementError,
    "groupOffset must be an integer from 0 to 4: current value is 5",
  );
  assertThrows(
    () => listedRowsCommand(buffers, { ...shape, heads: { offset: 28, total: 41 } }),
    RequirementError,
    "heads in total must be an integer at least 42: current value is 41",
  );
});
