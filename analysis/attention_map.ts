/**
 * Attention maps of single heads, and the attention that tokens accumulate in them.
 *
 * @module
 */

import { checkInteger, checkLength, RequirementError } from "../core/check.ts";

/** A layer and one of its heads: a query head, or a KV head where it says what a cache holds. */
export interface HeadPlace {
  /** Layer, from 0. */
  readonly layer: number;
  /** Head within the layer, from 0. */
  readonly head: number;
}

/** Attention of one query head: row = query, column = key; every row sums to one over the keys it may see. */
export interface AttentionMap extends HeadPlace {
  /** Rows. */
  readonly queries: number;
  /** Columns; the last row belongs to the last key, so row q sees keys 0 to keys - queries + q. */
  readonly keys: number;
  /** Probabilities, [queries, keys]. */
  readonly values: Float32Array;
}

/** Which rows of a map are summed, and how. */
export interface AccumulateOptions {
  /** `sum` (D-1, the paper) or `mean`: each column divided by the number of summed rows that may see it. */
  readonly normalisation?: "sum" | "mean";
  /** How many of the last rows are summed (D-2); all if left out. */
  readonly lastRows?: number;
}

/** Which square or band of a map is used for matching (D-3). */
export interface WindowOptions {
  /** Width of the window; the whole map if it is narrower. */
  readonly size?: number;
  /**
   * `head`: the first rows and columns. `tail`: the last rows and columns, not normalized again.
   * `lastQueries`: the last rows, all columns.
   */
  readonly side?: "head" | "tail" | "lastQueries";
}

/** Largest deviation of a row sum from one that rounding to f32 or f16 can explain. */
const ROW_SUM_TOLERANCE = 1e-2;

/**
 * Throws unless a map is a valid causal attention map.
 *
 * @param map The map.
 * @throws {RequirementError} If `values` does not have `queries * keys` entries.
 * @throws {RequirementError} If there are more queries than keys, or an entry is negative, NaN, or in the
 *   future of its row, or a row does not sum to one.
 */
export function checkAttentionMap(map: AttentionMap): void {
  checkShape("use an attention map", map);
  const { queries, keys, values } = map;
  for (let query = 0; query < queries; query++) {
    const row = values.subarray(query * keys, (query + 1) * keys);
    const visible = keys - queries + query + 1;
    let sum = 0;
    for (let key = 0; key < keys; key++) {
      const isAllowed = key < visible ? row[key]! >= 0 : row[key] === 0;
      if (!isAllowed) throw entryError(map, query, key);
      sum += row[key]!;
    }
    if (!(Math.abs(sum - 1) <= ROW_SUM_TOLERANCE)) {
      throw new RequirementError({
        action: "use an attention map",
        requirement: `row ${query} must sum to 1`,
        current: sum,
      });
    }
  }
}

/**
 * Sums the attention that each token receives, equation (1) of the paper.
 *
 * @param map The map.
 * @param options Normalization (D-1) and rows (D-2).
 * @returns Accumulated attention, [keys], summed in float64.
 * @throws {RequirementError} If an entry is NaN or `lastRows` is not a positive integer.
 */
export function accumulateAttention(
  map: AttentionMap,
  options: AccumulateOptions = {},
): Float32Array {
  const { queries, keys } = map;
  const { normalisation = "sum", lastRows = queries } = options;
  checkInteger("accumulate attention", "lastRows", { value: lastRows, min: 1 });
  const first = Math.max(0, queries - lastRows);
  const sums = sumBlock(map, { first, last: queries, left: 0, right: keys });
  if (normalisation === "mean") {
    for (let key = 0; key < keys; key++) {
      const firstSeeing = Math.max(first, key - (keys - queries));
      sums[key]! /= Math.max(1, queries - firstSeeing);
    }
  }
  return Float32Array.from(sums);
}

/**
 * Sums the attention inside a matching window (D-3).
 *
 * @param map The map.
 * @param options Size and side; by default the first 200 rows and columns.
 * @returns Accumulated attention over the columns of the window, which for `lastQueries` are all keys.
 */
export function windowAttention(map: AttentionMap, options: WindowOptions = {}): Float32Array {
  const { queries, keys } = map;
  const { size = 200, side = "head" } = options;
  checkInteger("accumulate attention", "size", { value: size, min: 1 });
  const rows = Math.min(size, queries);
  const columns = Math.min(size, keys);
  const block = {
    head: { first: 0, last: rows, left: 0, right: columns },
    tail: { first: queries - rows, last: queries, left: keys - columns, right: keys },
    lastQueries: { first: queries - rows, last: queries, left: 0, right: keys },
  }[side];
  return Float32Array.from(sumBlock(map, block));
}

interface Block {
  readonly first: number;
  readonly last: number;
  readonly left: number;
  readonly right: number;
}

function sumBlock(map: AttentionMap, block: Block): Float64Array {
  checkShape("accumulate attention", map);
  const { first, last, left, right } = block;
  const sums = new Float64Array(right - left);
  for (let query = first; query < last; query++) {
    const start = query * map.keys + left;
    for (let key = 0; key < sums.length; key++) sums[key]! += map.values[start + key]!;
  }
  const bad = sums.findIndex(Number.isNaN);
  if (bad >= 0) {
    throw new RequirementError({
      action: "accumulate attention",
      requirement: "entries must be numbers",
      state: `value is NaN in column ${left + bad} of layer ${map.layer}, head ${map.head}`,
    });
  }
  return sums;
}

function checkShape(action: string, map: AttentionMap): void {
  checkInteger(action, "keys", { value: map.keys, min: 1 });
  checkInteger(action, "queries", { value: map.queries, min: 1, max: map.keys });
  checkLength(action, "values", {
    required: map.queries * map.keys,
    current: map.values.length,
  });
}

function entryError(map: AttentionMap, query: number, key: number): RequirementError {
  const value = map.values[query * map.keys + key];
  return new RequirementError({
    action: "use an attention map",
    requirement: "entries must be at least 0, and 0 in the future",
    state: `value is ${value} at row ${query}, column ${key}`,
  });
}
