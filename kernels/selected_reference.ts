/**
 * Contracts and float64 twins of `selected_attention` and `selected_attention_split`: the former is a single split, joined.
 *
 * @module
 */

import type { KernelRun } from "../gpu/kernel.ts";
import { BROKEN_PART, PART_HEADER } from "./attention_merge.ts";
import { rowPlace, scoreOf, unpackStored } from "./attention_reference.ts";
import { ATTENTION_INPUTS, type AttentionVariant } from "./attention_shape.ts";
import type { AttentionContract } from "./attention_text.ts";
import { combineMarginal, MARGINAL_MODES } from "./marginal.ts";
import { listOf, type SelectionEntries } from "./selection_list.ts";

const INPUTS = {
  ...ATTENTION_INPUTS,
  values: "read u32",
  lists: "read u32",
  small_attention: "read f32",
} as const;

/** Storage buffers of `selected_attention`. */
export const SELECTED_BINDINGS = {
  ...INPUTS,
  output: "write f32",
  attention: "write f32",
} as const;

/** Storage buffers of `selected_attention_split`. */
export const SPLIT_BINDINGS = { ...INPUTS, partial: "write f32", attention: "write f32" } as const;

/** Fields of `Params` of `selected_attention`. */
export const SELECTED_PARAMS = {
  rows: "u32",
  rows_per_sequence: "u32",
  capacity: "u32",
  stride: "u32",
  output_stride: "u32",
  query_heads: "u32",
  kv_heads: "u32",
  scale: "f32",
  groups_per_layer: "u32",
  group_offset: "u32",
  groups: "u32",
  list_words: "u32",
  small_heads: "u32",
  row_stride: "u32",
  has_attention: "u32",
  attention_stride: "u32",
} as const;

/** Fields of `Params` of `selected_attention_split`. */
export const SPLIT_PARAMS = { ...SELECTED_PARAMS, splits: "u32" } as const;

/** Values for the parameters of `selected_attention`. */
export type SelectedParams = { readonly [Name in keyof typeof SELECTED_PARAMS]: number };

/** Contract of every variant of `selected_attention`. */
export type SelectedContract = AttentionContract<typeof SELECTED_BINDINGS, typeof SELECTED_PARAMS>;

/** Contract of every variant of `selected_attention_split`. */
export type SelectedSplitContract = AttentionContract<typeof SPLIT_BINDINGS, typeof SPLIT_PARAMS>;

type WholeRun = KernelRun<SelectedContract>;

/** What both forms of the kernel read. */
interface Run extends Pick<WholeRun, "params"> {
  readonly buffers: Omit<WholeRun["buffers"], "output">;
}

/** One query row of one head and the tokens it attends to. */
interface Place extends SelectionEntries {
  readonly row: number;
  readonly head: number;
  readonly position: number;
  /** Added to the rows of the list. */
  readonly firstRow: number;
  /** The small model's row, [capacity]. */
  readonly small: Float32Array;
}

/** What a split leaves of a row. */
interface Part {
  /** Largest score in base 2, including the sink's. */
  readonly largest: number;
  /** Scores of full tokens in base 2. */
  readonly scores: Float64Array;
  /** Sum of their exponentials, and the same without the first tokens. */
  readonly sum: number;
  readonly otherSum: number;
  /** The small model's mass on full tokens, on full tokens other than the first, and on value-only tokens. */
  readonly fullMass: number;
  readonly otherMass: number;
  readonly marginalMass: number;
  /** Sums of values: of full tokens weighted by the exponentials, of value-only tokens by the small model's attention. */
  readonly full: Float64Array;
  readonly marginal: Float64Array;
}

/** Which part is computed. */
interface SplitAt extends AttentionVariant {
  readonly tileKeys: number;
  readonly split: number;
  readonly splits: number;
}

/**
 * Computes in float64 what `selected_attention` computes.
 *
 * @param run Arrays and parameters.
 * @param variant What the text depends on.
 */
export function attendWhole(run: KernelRun<SelectedContract>, variant: AttentionVariant): void {
  const { buffers: { output, attention }, params } = run;
  eachPlace(run, (place, { row, head }) => {
    const first = row * params.output_stride + head * variant.headDim;
    if (!place) return void output.fill(NaN, first, first + variant.headDim);
    const part = partOf(run, place, { ...variant, tileKeys: 1, split: 0, splits: 1 });
    const joined = combineMarginal(MARGINAL_MODES[place.combine]!, {
      kept: part.full.map((element) => element / part.sum),
      marginal: part.marginal,
      masses: {
        marginalTokens: place.valueOnly.length,
        kept: part.fullMass,
        marginal: part.marginalMass,
        sinks: part.fullMass - part.otherMass,
        largeSinks: 1 - part.otherSum / part.sum,
      },
    });
    output.set(joined, first);
    if (params.has_attention === 0) return;
    const softmax = part.scores.map((score) => 2 ** (score - part.largest) / part.sum);
    attention.set(softmax, (row * params.query_heads + head) * params.attention_stride);
  });
}

/**
 * Computes in float64 what `selected_attention_split` computes.
 *
 * @param run Arrays and parameters.
 * @param variant What the text depends on, and how many list entries are loaded together.
 */
export function attendInSplits(
  run: KernelRun<SelectedSplitContract>,
  variant: AttentionVariant & { readonly tileKeys: number },
): void {
  const { buffers: { partial, attention }, params } = run;
  const { rows, query_heads, splits } = params;
  const size = PART_HEADER + 2 * variant.headDim;
  eachPlace(run, (place, { row, head }) => {
    for (let split = 0; split < splits; split++) {
      const first = ((split * rows + row) * query_heads + head) * size;
      partial.fill(0, first, first + size);
      if (!place) {
        partial[first + 7] = BROKEN_PART;
        continue;
      }
      const at = { ...variant, split, splits };
      const part = partOf(run, place, at);
      const isCalibrated = MARGINAL_MODES[place.combine] === "joint_nosink";
      partial.set([part.largest, part.sum, part.fullMass, part.marginalMass], first);
      const otherSum = isCalibrated ? part.otherSum : 0;
      partial.set([part.otherMass, otherSum, place.combine, place.full.length], first + 4);
      partial.set(part.full, first + PART_HEADER);
      partial.set(part.marginal, first + PART_HEADER + variant.headDim);
      if (params.has_attention === 0) continue;
      const start = (row * query_heads + head) * params.attention_stride;
      const scores = part.scores.map((score) => Math.max(-3.4e38, score));
      attention.set(scores, start + rangeOf(place.full.length, at)[0]);
    }
  });
}

function eachPlace(
  run: Run,
  visit: (
    place: Place | undefined,
    at: { readonly row: number; readonly head: number },
  ) => void,
): void {
  for (let row = 0; row < run.params.rows; row++) {
    for (let head = 0; head < run.params.query_heads; head++) {
      visit(placeOf(run, row, head), { row, head });
    }
  }
}

/** A row of a head and its list; undefined for a broken list. */
function placeOf({ buffers, params }: Run, row: number, head: number): Place | undefined {
  const { query_heads, kv_heads, groups_per_layer, list_words, capacity } = params;
  const { sequence, position } = rowPlace({ buffers, params }, row);
  const groupHeads = query_heads / groups_per_layer;
  const headGroup = sequence * params.groups + params.group_offset + Math.floor(head / groupHeads);
  const entries = listOf(buffers.lists, { list_words, group_heads: groupHeads }, headGroup);
  if (!entries) return undefined;
  const block = sequence * params.rows_per_sequence + row % params.rows_per_sequence;
  const small = (block * params.small_heads + entries.matched[head % groupHeads]!) * capacity;
  return {
    ...entries,
    row,
    head,
    position,
    firstRow: Math.floor(head / (query_heads / kv_heads)) * params.row_stride,
    small: buffers.small_attention.subarray(small, small + capacity),
  };
}

/** Entries of a split: whole tiles. */
function rangeOf(count: number, { split, splits, tileKeys }: SplitAt): [from: number, to: number] {
  const length = Math.ceil(count / (splits * tileKeys)) * tileKeys;
  return [Math.min(split * length, count), Math.min((split + 1) * length, count)];
}

function partOf(run: Run, place: Place, at: SplitAt): Part {
  const range = rangeOf(place.full.length, at);
  const marginalRange = rangeOf(place.valueOnly.length, at);
  const scores = fullScores(run, place, at).subarray(...range);
  const sink = at.split === 0 ? run.buffers.sinks?.[place.head] : undefined;
  const start = sink === undefined ? -3.4e38 : sink * Math.LOG2E;
  const largest = Math.max(start, ...scores);
  const exponentials = scores.map((score) => 2 ** (score - largest));
  const hasMasses = place.valueOnly.length > 0 || place.isRestWeighed;
  const masses = hasMasses
    ? massesOf(place, place.full.subarray(...range), at)
    : scores.map(() => 0);
  const marginalMasses = massesOf(place, place.valueOnly.subarray(...marginalRange), at);
  const others = Math.max(0, place.fullSinks - range[0]);
  const { values } = run.buffers;
  const sumOf = (rows: Uint32Array, factors: Float64Array) =>
    weightedSum(rows, factors, { ...at, values, firstRow: place.firstRow });
  return {
    largest,
    scores,
    sum: total(exponentials) + (sink === undefined ? 0 : 2 ** (start - largest)),
    otherSum: total(exponentials.subarray(others)),
    fullMass: total(masses),
    otherMass: total(masses.subarray(others)),
    marginalMass: total(marginalMasses),
    full: sumOf(place.fullRows.subarray(...range), exponentials),
    marginal: sumOf(place.valueOnlyRows.subarray(...marginalRange), marginalMasses),
  };
}

/** The small model's attention to tokens, 0 to those that the row does not see. */
function massesOf(
  { position, small }: Place,
  tokens: Uint32Array,
  { window = Infinity }: AttentionVariant,
): Float64Array {
  const isSeen = (token: number) => token <= position && position - token < window;
  return Float64Array.from(tokens, (token) => isSeen(token) ? small[token]! : 0);
}

/** Scores of full tokens in base 2, minus infinity for those that the row does not see. */
function fullScores({ buffers, params }: Run, place: Place, variant: AttentionVariant) {
  const { headDim } = variant;
  const keys = unpackStored(buffers.keys, variant.keyFormat);
  const query = buffers.qkv.subarray(place.row * params.stride + place.head * headDim);
  return Float64Array.from(place.fullRows, (listed, entry) => {
    const start = (place.firstRow + listed) * headDim;
    let sum = 0;
    for (let i = 0; i < headDim; i++) sum += query[i]! * keys[start + i]!;
    const { position } = place;
    return scoreOf(sum, params.scale, { ...variant, position, key: place.full[entry]! }) *
      Math.LOG2E;
  });
}

/** Sums listed values. */
function weightedSum(
  rows: Uint32Array,
  factors: Float64Array,
  at: AttentionVariant & { readonly values: Uint32Array; readonly firstRow: number },
): Float64Array {
  const sum = new Float64Array(at.headDim);
  const values = unpackStored(at.values, at.valueFormat);
  rows.forEach((listed, entry) => {
    const start = (at.firstRow + listed) * at.headDim;
    for (let i = 0; i < sum.length; i++) sum[i]! += factors[entry]! * values[start + i]!;
  });
  return sum;
}

function total(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0);
}
