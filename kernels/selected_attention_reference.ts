/**
 * Float64 twin of `selected_attention`.
 *
 * @module
 */

import type { KernelRun } from "../gpu/kernel.ts";
import { type KeyFormat, logSumExp, rowPlace, unpackKeys } from "./attention_input.ts";
import { combineMarginal, MARGINAL_MODES } from "./marginal.ts";
import type { SelectedAttentionContract } from "./selected_attention.ts";
import { readList, type SelectionEntries } from "./selection_list.ts";

/** What the contract does not state. */
export interface SelectedVariant {
  /** Elements of a head. */
  readonly headDim: number;
  /** How keys are stored; `f16` if left out. */
  readonly keyFormat?: KeyFormat | undefined;
  /** How values are stored; `f16` if left out. */
  readonly valueFormat?: KeyFormat | undefined;
}

/** Arrays and parameters of one run. */
export type SelectedRun = KernelRun<SelectedAttentionContract>;

/** What both forms of the kernel read. */
export type SelectedInputs = Pick<
  SelectedRun["buffers"],
  "state" | "qkv" | "keys" | "values" | "lists" | "helper"
>;

/** One query row of one head and the tokens it attends to. */
export interface SelectedPlace extends SelectionEntries {
  /** Row of the step. */
  readonly row: number;
  /** Query head. */
  readonly head: number;
  /** Position of the row's token. */
  readonly position: number;
  /** Added to the rows of the list. */
  readonly firstRow: number;
  /** The helper's row, [capacity]. */
  readonly helper: Float32Array;
}

/**
 * Computes in float64 what the kernel computes.
 *
 * @param run Arrays and parameters.
 * @param variant Head size and storage of keys.
 */
export function selectedAttentionReference(run: SelectedRun, variant: SelectedVariant): void {
  const { buffers, params } = run;
  const { rows, query_heads, output_stride } = params;
  for (let row = 0; row < rows; row++) {
    for (let head = 0; head < query_heads; head++) {
      const start = row * output_stride + head * variant.headDim;
      const place = placeOf(run, row, head);
      if (place) buffers.output.set(attend(run, place, variant), start);
      else buffers.output.fill(NaN, start, start + variant.headDim);
    }
  }
}

/**
 * Finds a row of a head and its list.
 *
 * @param run Arrays and parameters.
 * @param row Row of the step.
 * @param head Query head.
 * @returns Place and entries; undefined for a broken list.
 */
export function placeOf(
  run: Pick<SelectedRun, "params"> & { readonly buffers: SelectedInputs },
  row: number,
  head: number,
): SelectedPlace | undefined {
  const { buffers, params } = run;
  const { query_heads, kv_heads, units_per_layer, list_words, capacity } = params;
  const { sequence, position } = rowPlace(run, row);
  const unitHeads = query_heads / units_per_layer;
  const unit = sequence * params.units + params.unit_offset + Math.floor(head / unitHeads);
  const list = buffers.lists.subarray(unit * list_words, (unit + 1) * list_words);
  const entries = readList(list, unitHeads);
  if (!entries) return undefined;
  const block = sequence * params.rows_per_sequence + row % params.rows_per_sequence;
  const helperStart = (block * params.helper_heads + entries.matched[head % unitHeads]!) * capacity;
  return {
    ...entries,
    row,
    head,
    position,
    firstRow: Math.floor(head / (query_heads / kv_heads)) * params.row_stride,
    helper: buffers.helper.subarray(helperStart, helperStart + capacity),
  };
}

function attend(
  run: SelectedRun,
  place: SelectedPlace,
  variant: SelectedVariant,
): Float64Array {
  const { buffers, params } = run;
  const mode = MARGINAL_MODES[place.combine]!;
  const scores = keptScores(run, place, variant);
  const logSum = logSumExp(scores);
  const weights = scores.map((score) => Math.exp(score - logSum));
  if (params.has_weights === 1) {
    const start = (place.row * params.query_heads + place.head) * params.weight_stride;
    buffers.weights.set(weights, start);
  }
  const hasMasses = place.marginal.length > 0;
  const keptMasses = hasMasses ? massesOf(place, place.kept) : new Float64Array(0);
  const marginalMasses = massesOf(place, place.marginal);
  const sinks = mode === "joint_nosink" ? place.keptSinks : 0;
  const values = { ...variant, values: buffers.values, firstRow: place.firstRow };
  return combineMarginal(mode, {
    kept: weightedSum(place.keptRows, weights, values),
    marginal: weightedSum(place.marginalRows, marginalMasses, values),
    masses: {
      marginalTokens: place.marginal.length,
      kept: total(keptMasses),
      marginal: total(marginalMasses),
      sinks: total(keptMasses.subarray(0, sinks)),
      ownSinks: total(weights.subarray(0, sinks)),
    },
  });
}

/**
 * Reads what the helper attends to.
 *
 * @param place The row.
 * @param tokens Positions.
 * @returns Its attention to them, 0 to those after the row.
 */
export function massesOf({ position, helper }: SelectedPlace, tokens: Uint32Array): Float64Array {
  return Float64Array.from(tokens, (token) => token <= position ? helper[token]! : 0);
}

/**
 * Sums listed values.
 *
 * @param rows Rows of the list.
 * @param factors Factor of each.
 * @param at Values, how they are stored, and what is added to rows.
 * @returns [headDim].
 */
export function weightedSum(
  rows: Uint32Array,
  factors: Float64Array,
  at: SelectedVariant & { readonly values: Uint32Array; readonly firstRow: number },
): Float64Array {
  const sum = new Float64Array(at.headDim);
  const values = unpackKeys(at.values, at.valueFormat);
  rows.forEach((listed, entry) => {
    const start = (at.firstRow + listed) * at.headDim;
    for (let i = 0; i < sum.length; i++) sum[i]! += factors[entry]! * values[start + i]!;
  });
  return sum;
}

/**
 * Scores the kept tokens.
 *
 * @param run Queries, keys and parameters.
 * @param place The row.
 * @param variant Head size and storage of keys.
 * @returns Scaled products in the order of the list, minus infinity for tokens after the row.
 */
export function keptScores(
  { buffers, params }: Pick<SelectedRun, "params"> & { readonly buffers: SelectedInputs },
  place: SelectedPlace,
  variant: SelectedVariant,
): Float64Array {
  const { headDim } = variant;
  const keys = unpackKeys(buffers.keys, variant.keyFormat);
  const query = buffers.qkv.subarray(place.row * params.stride + place.head * headDim);
  return Float64Array.from(place.keptRows, (listed, entry) => {
    if (place.kept[entry]! > place.position) return -Infinity;
    const start = (place.firstRow + listed) * headDim;
    let sum = 0;
    for (let i = 0; i < headDim; i++) sum += query[i]! * keys[start + i]!;
    return sum * params.scale;
  });
}

/**
 * Adds numbers up.
 *
 * @param values The numbers.
 * @returns Their sum, 0 of none.
 */
export function total(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0);
}
