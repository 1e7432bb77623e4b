/**
 * Tests of `kernels/rerotate_keys.*`.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { packFloat16, unpackFloat16 } from "../../core/float16.ts";
import { type Random, seededRandom } from "../../core/random.ts";
import { BROKEN_LIST, LIST_HEADER_WORDS } from "../../kernels/selection_list.ts";
import {
  rerotateKeys,
  rerotateKeysCommand,
  rerotateKeysGrid,
  type RerotateKeysShape,
} from "../../kernels/rerotate_keys.ts";
import { kernelTest, testBackends, testDevice } from "../support/gpu.ts";
import { type ArrayRun, runKernel, runReference } from "../support/run_kernel.ts";

interface Case {
  readonly headDim: number;
  /** Kept tokens of each list, one entry per sequence. */
  readonly kept: readonly number[];
  readonly groupsPerLayer?: number;
  readonly firstSequence?: number;
  /** Sequences that count kept tokens; all if left out. */
  readonly counted?: readonly number[];
  readonly isExact?: boolean;
  /** Added to all positions. */
  readonly offset?: number;
  /** Workgroups of a selection; those of the command if left out. */
  readonly groups?: number;
  /** Whether stored keys are without a center. */
  readonly hasCenter?: boolean;
}

const CASES: readonly Case[] = [
  { headDim: 4, kept: [1] },
  { headDim: 8, kept: [2] },
  { headDim: 24, kept: [17], groupsPerLayer: 3 },
  { headDim: 64, kept: [63], groupsPerLayer: 2, isExact: true },
  { headDim: 64, kept: [64, 3], groupsPerLayer: 2, counted: [0, 1] },
  { headDim: 80, kept: [65, 40], firstSequence: 1, counted: [1, 1, 0] },
  { headDim: 128, kept: [131], groupsPerLayer: 2, groups: 1 },
  { headDim: 128, kept: [20, 9], groupsPerLayer: 8, isExact: true, counted: [1, 0] },
  { headDim: 4, kept: [3], hasCenter: true },
  { headDim: 80, kept: [65, 40], groupsPerLayer: 2, counted: [0, 1], hasCenter: true },
  { headDim: 24, kept: [31], groupsPerLayer: 3, firstSequence: 1, isExact: true, hasCenter: true },
];

/** Tokens that fit a sequence, rows that a selection has. */
const CAPACITY = 200;
const GROUP_HEADS = 3;

/** Angle of a pair of elements at a position. */
const angleOf = (position: number, pair: number, headDim: number) =>
  position * 10000 ** (-2 * pair / headDim);

function rerotate(input: readonly number[], position: number): number[] {
  const half = input.length / 2;
  return input.map((value, i) => {
    const angle = angleOf(position, i % half, input.length);
    const other = i < half ? -input[i + half]! : input[i - half]!;
    return value * Math.cos(angle) + other * Math.sin(angle);
  });
}

/** Cosines and sines of every position, as models make them. */
function rotationTable(headDim: number): Float32Array {
  const half = headDim / 2;
  return Float32Array.from({ length: CAPACITY * headDim }, (_, index) => {
    const angle = angleOf(Math.floor(index / headDim), index % half, headDim);
    return index % headDim < half ? Math.cos(angle) : Math.sin(angle);
  });
}

/** A token and its row; rows are in another order than positions, as pools have them. */
type Entry = readonly [token: number, row: number];

function keptTokens(count: number, random: Random, at: { place: number; offset: number }): Entry[] {
  const chosen = new Set<number>();
  while (chosen.size < count) chosen.add(Math.floor(random() * (CAPACITY - 40)));
  return [...chosen].sort((a, b) => a - b)
    .map((token) => [token + at.offset, at.place * CAPACITY + (7 * token + at.place) % CAPACITY]);
}

/** What stored keys of a selection's KV head are without. */
function centerOf(
  { headDim, groupsPerLayer = 1, hasCenter = false }: Pick<
    Case,
    "headDim" | "groupsPerLayer" | "hasCenter"
  >,
  place: number,
): number[] {
  const group = place % groupsPerLayer;
  return Array.from({ length: headDim }, (_, i) => hasCenter ? Math.sin(1 + i + 7 * group) : 0);
}

/** Sizes of the middle one of three layers. */
function shapeOf({ headDim, kept, groupsPerLayer = 1 }: Case): RerotateKeysShape {
  return {
    headDim,
    sequences: kept.length,
    groupsPerLayer,
    groupOffset: groupsPerLayer,
    groups: 3 * groupsPerLayer,
    groupHeads: GROUP_HEADS,
    listWords: LIST_HEADER_WORDS + GROUP_HEADS + 2 * CAPACITY,
  };
}

/** Keys by row before any rotation, what each selection keeps, and a run on keys that stand at their tokens. */
function runOf(sizes: Case) {
  const { headDim, kept, firstSequence = 0, isExact = false, offset = 0 } = sizes;
  const shape = shapeOf(sizes);
  const { groupsPerLayer, groups: headGroups, listWords } = shape;
  const random = seededRandom(kept[0]!);
  const sequences = firstSequence + kept.length;
  const raw = Array.from(
    { length: sequences * groupsPerLayer * CAPACITY },
    () => Array.from({ length: headDim }, () => 2 * random() - 1),
  );
  const keys = [...raw];
  const lists = new Uint32Array(sequences * headGroups * listWords).fill(7);
  const tokens = new Map<number, readonly Entry[]>();
  for (let place = firstSequence * groupsPerLayer; place < sequences * groupsPerLayer; place++) {
    const sequence = Math.floor(place / groupsPerLayer);
    const entries = keptTokens(kept[sequence - firstSequence]!, random, { place, offset });
    const center = centerOf(sizes, place);
    for (const [token, row] of entries) {
      keys[row] = rerotate(raw[row]!, token).map((value, i) => value - center[i]!);
    }
    const headGroup = sequence * headGroups + groupsPerLayer + place % groupsPerLayer;
    lists.set([entries.length, 1, 0, 0], headGroup * listWords);
    lists.set(entries.flat(), headGroup * listWords + LIST_HEADER_WORDS + GROUP_HEADS);
    tokens.set(place, entries);
  }
  const flat = Float32Array.from(keys.flat());
  const words = isExact ? new Uint32Array(flat.buffer) : packFloat16(flat);
  const [groups, ...others] = rerotateKeysGrid(shape);
  const run: ArrayRun<typeof rerotateKeys> = {
    buffers: {
      state: Uint32Array.of(firstSequence),
      counted: Uint32Array.from({ length: sequences }, (_, s) => sizes.counted?.[s] ?? 1),
      lists,
      rotation: rotationTable(headDim),
      keys: words,
      center: Float32Array.from(
        Array.from(
          { length: groupsPerLayer },
          (_, group) => centerOf({ ...sizes, hasCenter: true }, group),
        ).flat(),
      ),
      rerotated: new Uint32Array(words.length).fill(isExact ? 0x7fc00000 : 0x7e007e00),
    },
    constants: { HEAD_DIM: headDim, HAS_F32_KEYS: isExact ? 1 : 0 },
    params: {
      group_offset: groupsPerLayer,
      groups: headGroups,
      group_heads: GROUP_HEADS,
      list_words: listWords,
      has_center: sizes.hasCenter ? 1 : 0,
    },
    grid: [sizes.groups ?? groups, ...others],
  };
  return { run, raw, tokens };
}

const floatsOf = (words: Uint32Array, { isExact = false }: Case) =>
  isExact ? new Float32Array(words.buffer as ArrayBuffer) : unpackFloat16(words);

/** Largest difference of two stored keys; what was not written must be the same. */
function difference(actual: Uint32Array, expected: Uint32Array, sizes: Case): number {
  const other = floatsOf(expected, sizes);
  return floatsOf(actual, sizes).reduce((largest, value, i) => {
    if (Number.isNaN(value) && Number.isNaN(other[i]!)) return largest;
    const error = Math.abs(value - other[i]!);
    return Math.max(largest, Number.isNaN(error) ? Infinity : error);
  }, 0);
}

Deno.test("rerotateKeys' twin rotates each key to its position among the kept tokens, and leaves others alone", async () => {
  for (const sizes of CASES) {
    const { headDim, groupsPerLayer = 1, counted, isExact } = sizes;
    const { run, raw, tokens } = runOf(sizes);
    const after = floatsOf((await runReference(rerotateKeys, run)).rerotated, sizes);
    const named = new Set<number>();
    for (const [place, entries] of tokens) {
      const isCounted = counted?.[Math.floor(place / groupsPerLayer)] !== 0;
      const newest = entries.at(-1)![0];
      for (const [rank, [token, row]] of entries.entries()) {
        const position = isCounted ? newest - (entries.length - 1 - rank) : token;
        const actual = after.subarray(row * headDim, (row + 1) * headDim);
        const center = centerOf(sizes, place);
        const expected = rerotate(raw[row]!, position).map((value, i) => value - center[i]!);
        const error = Math.max(...expected.map((value, i) => Math.abs(value - actual[i]!)));
        assert(
          error < (isExact ? 2e-6 : 1.5e-3),
          `row ${row} of ${JSON.stringify(sizes)}: ${error}`,
        );
        named.add(row);
      }
    }
    raw.forEach((_, row) => assertEquals(Number.isNaN(after[row * headDim]!), !named.has(row)));
  }
});

for (const sizes of CASES) {
  kernelTest({
    name: `rerotateKeys matches its twin for ${JSON.stringify(sizes)}`,
    async fn(device) {
      const { run } = runOf(sizes);
      const [actual, expected] = [
        await runKernel(rerotateKeys, run, { device }),
        await runReference(rerotateKeys, run),
      ];
      const error = difference(actual.rerotated, expected.rerotated, sizes);
      assert(error <= (sizes.isExact ? 1e-6 : 2 ** -10), `${error}`);
    },
  });
}

Deno.test("rerotateKeys does the same wherever a text begins, and copies bits where nothing was dropped", async () => {
  for (const backend of testBackends) {
    const device = await testDevice(backend);
    const execute = (run: ArrayRun<typeof rerotateKeys>) =>
      runKernel(rerotateKeys, run, { device });
    for (const isExact of [false, true]) {
      const sizes = { headDim: 24, kept: [31], isExact };
      const { run } = runOf(sizes);
      const { run: later } = runOf({ ...sizes, offset: 1000 });
      const shifted = { ...later, buffers: { ...later.buffers, keys: run.buffers.keys } };
      const [first, second] = [
        await execute(run),
        await execute(shifted),
      ];
      assertEquals(second.rerotated, first.rerotated);
      const { run: whole } = runOf({ headDim: 24, kept: [CAPACITY - 40], isExact });
      const words = 24 * (isExact ? 1 : 0.5);
      const { rerotated, keys } = await execute(whole);
      const start = LIST_HEADER_WORDS + GROUP_HEADS + whole.params.list_words;
      for (let entry = 0; entry < CAPACITY - 40; entry++) {
        const row = whole.buffers.lists[start + 2 * entry + 1]! * words;
        assertEquals(rerotated.subarray(row, row + words), keys.subarray(row, row + words));
      }
    }
  }
});

Deno.test("rerotateKeys leaves out a list that could not be made", async () => {
  for (const backend of testBackends) {
    const { run } = runOf({ headDim: 8, kept: [5] });
    run.buffers.lists[run.params.list_words] = BROKEN_LIST;
    const device = await testDevice(backend);
    const { rerotated } = await runKernel(rerotateKeys, run, { device });
    assertEquals(rerotated, run.buffers.rerotated);
  }
});

Deno.test("rerotateKeysCommand() refuses heads whose pairs do not fill words", () => {
  const shape = {
    headDim: 6,
    sequences: 1,
    groupsPerLayer: 1,
    groupOffset: 0,
    groups: 1,
    groupHeads: 1,
    listWords: 9,
  };
  assertThrows(
    () => rerotateKeysCommand({} as Parameters<typeof rerotateKeysCommand>[0], shape),
    RequirementError,
    "Cannot rerotate keys: headDim / 4 must be an integer at least 1: current value is 1.5",
  );
});
