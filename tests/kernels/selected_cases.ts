/**
 * Inputs for the tests of `selected_attention`.
 *
 * @module
 */

import { packFloat16 } from "../../core/float16.ts";
import { seededRandom } from "../../core/random.ts";
import type { KernelRun } from "../../gpu/kernel.ts";
import type {
  AttentionRule,
  AttentionShape,
  KvFormat,
  LaneUse,
} from "../../kernels/attention_shape.ts";
import type { SelectedContract } from "../../kernels/selected_reference.ts";
import { selectedGrid, selectedParams } from "../../kernels/selected_attention.ts";
import { CALIBRATION_SINKS, LIST_HEADER_WORDS } from "../../kernels/selection_list.ts";
import { unwritten } from "./attention_cases.ts";

/** A step of attention to random selections; the second of three layers. */
export interface SelectedCase extends AttentionRule {
  /** Query heads. */
  readonly queryHeads: number;
  /** KV heads. */
  readonly kvHeads: number;
  /** Elements of a head. */
  readonly headDim: number;
  /** Tokens of each sequence of the step after it, including the new ones. */
  readonly tokens: readonly number[];
  /** New tokens of each sequence; 1 if left out. */
  readonly rowsPerSequence?: number;
  /** Sequences before the first of the step; 0 if left out. */
  readonly firstSequence?: number;
  /** Selections of the layer; one per KV head if left out. */
  readonly groupsPerLayer?: number;
  /** Chance of an older token to be kept. */
  readonly keptShare: number;
  /** Chance of another one to be marginal. */
  readonly marginalShare: number;
  /** How the parts join, in each sequence of the step or in all of them. */
  readonly combine: number | readonly number[];
  /** Whether the softmax is written. */
  readonly hasAttention?: boolean;
  /** How keys are stored. */
  readonly keyFormat?: KvFormat;
  /** How values are stored. */
  readonly valueFormat?: KvFormat;
}

/** One run of the kernel. */
export type SelectedRun = KernelRun<SelectedContract>;

const SMALL_HEADS = 5;

/**
 * Completes the sizes of a case.
 *
 * @param sizes The case.
 * @returns The shape; rows have 32 unused elements at their end.
 */
export function selectedShape(sizes: SelectedCase): AttentionShape & AttentionRule {
  const { queryHeads, kvHeads, headDim, tokens, rowsPerSequence = 1, keyFormat } = sizes;
  return {
    queryHeads,
    kvHeads,
    headDim,
    rowsPerSequence,
    sequences: tokens.length,
    capacity: Math.max(...tokens) + 3,
    stride: (queryHeads + 2 * kvHeads) * headDim + 32,
    outputStride: queryHeads * headDim + 32,
    window: sizes.window,
    softcap: sizes.softcap,
    hasSinks: sizes.hasSinks,
    ...(keyFormat && { keyFormat }),
    ...(sizes.valueFormat && { valueFormat: sizes.valueFormat }),
  };
}

/** Where each head vector of the cache lies, [sequences * kvHeads * capacity]. */
function placesOf(count: number, options: { readonly seed: number; readonly isPlaced: boolean }) {
  const places = Uint32Array.from({ length: count }, (_, index) => index);
  if (options.isPlaced) return places;
  const random = seededRandom(options.seed + 99);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor((i + 1) * random());
    [places[i], places[j]] = [places[j]!, places[i]!];
  }
  return places;
}

/**
 * Makes a run; head vectors lie anywhere unless `isPlaced`, but the same tokens have the same vectors.
 *
 * @param sizes The case.
 * @param options How lanes are used, for the grid, seed, and whether head vectors lie in order.
 * @returns Arrays, parameters, grid.
 */
export function selectedRun(
  sizes: SelectedCase,
  options: LaneUse & {
    readonly seed?: number;
    readonly isPlaced?: boolean;
  },
): SelectedRun {
  const { queryHeads, kvHeads, headDim, tokens, rowsPerSequence = 1, firstSequence = 0 } = sizes;
  const { seed = 1, isPlaced = false } = options;
  const shape = selectedShape(sizes);
  const { capacity } = shape;
  const groupsPerLayer = sizes.groupsPerLayer ?? kvHeads;
  const isShared = groupsPerLayer === 1 && kvHeads > 1;
  const random = seededRandom(seed);
  const sequences = firstSequence + tokens.length;
  const vectors = sequences * kvHeads * capacity;
  // A list that serves several KV heads cannot point anywhere.
  const places = placesOf(vectors, { seed, isPlaced: isPlaced || isShared });
  const uniform = (length: number) => Float32Array.from({ length }, () => 2 * random() - 1);
  const placed = (values: Float32Array) => {
    const moved = new Float32Array(values.length);
    places.forEach((place, index) =>
      moved.set(values.subarray(index * headDim, (index + 1) * headDim), place * headDim)
    );
    return moved;
  };
  const keys = placed(uniform(vectors * headDim));
  const values = placed(uniform(vectors * headDim));
  const rows = tokens.length * rowsPerSequence;
  const selection = {
    groupsPerLayer,
    groupOffset: groupsPerLayer,
    groups: 3 * groupsPerLayer,
    listWords: LIST_HEADER_WORDS + queryHeads / groupsPerLayer + 2 * capacity,
    smallHeads: SMALL_HEADS,
    rowStride: isShared ? capacity : 0,
    hasAttention: sizes.hasAttention ?? false,
    attentionStride: capacity,
  };
  const starts = tokens.map((count) => count - rowsPerSequence);
  const state = Uint32Array.of(firstSequence, ...new Array(firstSequence).fill(0), ...starts);
  return {
    buffers: {
      state,
      qkv: uniform(rows * shape.stride).map((value) => 2 * value),
      keys: stored(keys, sizes.keyFormat),
      values: stored(values, sizes.valueFormat),
      lists: listsOf(sizes, { state, places, seed, ...selection }),
      small_attention: smallOf(sizes, random),
      output: unwritten(rows * shape.outputStride),
      attention: unwritten(rows * queryHeads * capacity),
      ...(sizes.hasSinks &&
        { sinks: Float32Array.from({ length: queryHeads }, (_, i) => i / 2 - 3) }),
    },
    constants: {},
    params: selectedParams(shape, selection),
    grid: selectedGrid(shape, { ...options, groupsPerLayer }),
  };
}

function stored(numbers: Float32Array, format?: KvFormat): Uint32Array {
  return format === "f32" ? new Uint32Array(numbers.buffer as ArrayBuffer) : packFloat16(numbers);
}

/** Rows that sum to at most one. */
function smallOf(sizes: SelectedCase, random: () => number): Float32Array {
  const { capacity, rowsPerSequence, sequences } = selectedShape(sizes);
  const rows = ((sizes.firstSequence ?? 0) + sequences) * rowsPerSequence * SMALL_HEADS;
  return Float32Array.from({ length: rows * capacity }, () => 2 * random() / capacity);
}

function combineOf({ combine, firstSequence = 0 }: SelectedCase, sequence: number): number {
  return typeof combine === "number" ? combine : combine[sequence - firstSequence] ?? 0;
}

function listsOf(
  sizes: SelectedCase,
  layout: {
    readonly state: Uint32Array;
    readonly places: Uint32Array;
    readonly seed: number;
    readonly groupsPerLayer: number;
    readonly groups: number;
    readonly listWords: number;
  },
): Uint32Array {
  const { kvHeads, queryHeads, rowsPerSequence = 1, keptShare, marginalShare } = sizes;
  const { state, places, groupsPerLayer, groups, listWords } = layout;
  const { capacity } = selectedShape(sizes);
  const random = seededRandom(layout.seed + 7);
  const sequences = state.length - 1;
  const lists = new Uint32Array(sequences * groups * listWords);
  for (let index = 0; index < sequences * groups; index++) {
    const sequence = Math.floor(index / groups);
    const kvHead = Math.floor(index % groupsPerLayer / Math.max(1, groupsPerLayer / kvHeads));
    const kept: number[] = [];
    const marginal: number[] = [];
    const row = (token: number) => places[(sequence * kvHeads + kvHead) * capacity + token]!;
    for (let token = 0; token < state[1 + sequence]! + rowsPerSequence; token++) {
      const isNew = token >= state[1 + sequence]!;
      if (isNew || random() < keptShare) kept.push(token, row(token));
      else if (random() < marginalShare) marginal.push(token, row(token));
    }
    const sinks = kept.filter((token, i) => i % 2 === 0 && token < CALIBRATION_SINKS).length;
    const matched = Array.from(
      { length: queryHeads / groupsPerLayer },
      () => Math.floor(SMALL_HEADS * random()),
    );
    const header = [kept.length / 2, marginal.length / 2, sinks, combineOf(sizes, sequence)];
    lists.set([...header, ...matched, ...kept, ...marginal], index * listWords);
  }
  return lists;
}

/**
 * Changes the lists of a run.
 *
 * @param run The run.
 * @param match New matched head of a head group's query head (head group, flat query head of the layer); if left out, marginal
 *   tokens become kept ones instead.
 * @returns The same run with other lists.
 */
export function relist(
  run: SelectedRun,
  match: ((headGroup: number, head: number) => number) | undefined,
): SelectedRun {
  const { list_words, query_heads, groups_per_layer, small_heads } = run.params;
  const groupHeads = query_heads / groups_per_layer;
  const lists = run.buffers.lists.slice();
  for (let index = 0; index < lists.length / list_words; index++) {
    const list = lists.subarray(index * list_words, (index + 1) * list_words);
    if (match) {
      const first = index % groups_per_layer * groupHeads;
      for (let k = 0; k < groupHeads; k++) list[LIST_HEADER_WORDS + k] = match(index, first + k);
      continue;
    }
    const start = LIST_HEADER_WORDS + groupHeads;
    const entries: [number, number][] = [];
    for (let i = 0; i < list[0]! + list[1]!; i++) {
      entries.push([list[start + 2 * i]!, list[start + 2 * i + 1]!]);
    }
    entries.sort((a, b) => a[0] - b[0]);
    list.set(entries.flat(), start);
    list[0]! += list[1]!;
    list[1] = 0;
  }
  const smallHeads = match ? query_heads : small_heads;
  return {
    ...run,
    buffers: { ...run.buffers, lists },
    params: { ...run.params, small_heads: smallHeads },
  };
}

/**
 * Picks the columns of an output that are used.
 *
 * @param sizes The case.
 * @param output f32 [rows, outputStride].
 * @returns The used columns.
 */
export function usedOutput(sizes: SelectedCase, output: Float32Array): Float32Array {
  const { queryHeads, headDim, outputStride } = selectedShape(sizes);
  return output.filter((_, i) => i % outputStride < queryHeads * headDim);
}
