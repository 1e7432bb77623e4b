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

/** One query row of one head and the tokens it attends to. */
interface Place extends SelectionEntries {
  readonly row: number;
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

/** Undefined for a broken list. */
function placeOf(run: SelectedRun, row: number, head: number): Place | undefined {
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

function attend(run: SelectedRun, place: Place, variant: SelectedVariant): Float64Array {
  const { buffers, params } = run;
  const { position, helper } = place;
  const mode = MARGINAL_MODES[place.combine]!;
  const weights = keptWeights(run, place, variant);
  if (params.has_weights === 1) {
    const start = (place.row * params.query_heads + place.head) * params.weight_stride;
    buffers.weights.set(weights, start);
  }
  const masses = (tokens: Uint32Array) =>
    Float64Array.from(tokens, (token) => token <= position ? helper[token]! : 0);
  const hasMasses = place.marginal.length > 0;
  const keptMasses = hasMasses ? masses(place.kept) : new Float64Array(0);
  const marginalMasses = masses(place.marginal);
  const sinks = mode === "joint_nosink" ? place.keptSinks : 0;
  const sumRows = (rows: Uint32Array, factors: Float64Array) => {
    const sum = new Float64Array(variant.headDim);
    const values = unpackKeys(buffers.values, variant.valueFormat);
    rows.forEach((listed, entry) => {
      const start = (place.firstRow + listed) * variant.headDim;
      for (let i = 0; i < sum.length; i++) sum[i]! += factors[entry]! * values[start + i]!;
    });
    return sum;
  };
  return combineMarginal(mode, {
    kept: sumRows(place.keptRows, weights),
    marginal: sumRows(place.marginalRows, marginalMasses),
    masses: {
      marginalTokens: place.marginal.length,
      kept: total(keptMasses),
      marginal: total(marginalMasses),
      sinks: total(keptMasses.subarray(0, sinks)),
      ownSinks: total(weights.subarray(0, sinks)),
    },
  });
}

/** Softmax over the kept tokens up to the row's own position. */
function keptWeights(
  { buffers, params }: SelectedRun,
  place: Place,
  variant: SelectedVariant,
): Float64Array {
  const { headDim } = variant;
  const keys = unpackKeys(buffers.keys, variant.keyFormat);
  const query = buffers.qkv.subarray(place.row * params.stride + place.head * headDim);
  const scores = Float64Array.from(place.keptRows, (listed, entry) => {
    if (place.kept[entry]! > place.position) return -Infinity;
    const start = (place.firstRow + listed) * headDim;
    let sum = 0;
    for (let i = 0; i < headDim; i++) sum += query[i]! * keys[start + i]!;
    return sum * params.scale;
  });
  const logSum = logSumExp(scores);
  return scores.map((score) => Math.exp(score - logSum));
}

function total(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0);
}
