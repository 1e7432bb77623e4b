/**
 * How the tokens of a selection are listed for kernels.
 *
 * A list is `listWords` words: kept count, marginal count, how many of the kept tokens are sinks, how the two parts
 * join (an index in `MARGINAL_MODES`); then the matched small head of each of the selection's query heads; then token and
 * row of each kept token, ascending; then the same of each marginal token. A row is one head vector of `keys` and `values`, or only of `values` for a marginal token.
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";

/** Words before the matched heads. */
export const LIST_HEADER_WORDS = 4;
/** Kept count of a list that could not be made, because a score was not a number or the list was too short. */
export const BROKEN_LIST = 0xffffffff;
/** First tokens that `joint_nosink` leaves out of its calibration where they are kept. */
export const CALIBRATION_SINKS = 4;

/** Sizes of a list. */
export interface ListSize {
  /** Words of the list. */
  readonly listWords: number;
  /** Query heads that share the selection. */
  readonly unitHeads: number;
}

/** The lists of a layer. */
export interface ListedLayer extends ListSize {
  /** Sequences in the step. */
  readonly sequences: number;
  /** Selections of a layer. */
  readonly unitsPerLayer: number;
  /** First selection of the layer. */
  readonly unitOffset: number;
  /** Selections of all layers. */
  readonly units: number;
}

/**
 * Checks the lists of a layer.
 *
 * @param action What could not be done.
 * @param layer Sizes.
 * @returns Parameters of kernels that read lists.
 * @throws {RangeError} If a size is not positive, or the layer's selections lie outside.
 */
export function listParams(action: string, layer: ListedLayer): {
  readonly unit_offset: number;
  readonly units: number;
  readonly unit_heads: number;
  readonly list_words: number;
} {
  const { unitsPerLayer, unitOffset, units, unitHeads, listWords } = layer;
  for (const name of ["sequences", "unitsPerLayer", "unitHeads"] as const) {
    checkInteger(action, name, { value: layer[name], min: 1 });
  }
  checkInteger(action, "unitOffset", { value: unitOffset, min: 0, max: units - unitsPerLayer });
  checkInteger(action, "listWords", { value: listWords, min: LIST_HEADER_WORDS + unitHeads });
  return { unit_offset: unitOffset, units, unit_heads: unitHeads, list_words: listWords };
}

/** A list, read. */
export interface SelectionEntries {
  /** Kept tokens whose positions are below `CALIBRATION_SINKS`. */
  readonly keptSinks: number;
  /** How kept and marginal tokens join, an index in `MARGINAL_MODES`. */
  readonly combine: number;
  /** Small head of each query head. */
  readonly matched: Uint32Array;
  /** Positions with key and value. */
  readonly kept: Uint32Array;
  /** Their rows. */
  readonly keptRows: Uint32Array;
  /** Positions with value only. */
  readonly marginal: Uint32Array;
  /** Their rows in `values`. */
  readonly marginalRows: Uint32Array;
}

/**
 * Counts the tokens that fit a list.
 *
 * @param size Sizes of the list.
 * @returns Kept and marginal tokens together.
 */
export function listRoom({ listWords, unitHeads }: ListSize): number {
  return Math.floor((listWords - LIST_HEADER_WORDS - unitHeads) / 2);
}

/**
 * Reads a list.
 *
 * @param list Its words.
 * @param unitHeads Query heads that share the selection.
 * @returns What it holds; undefined for a broken list.
 */
export function readList(list: Uint32Array, unitHeads: number): SelectionEntries | undefined {
  const [kept, marginal] = [list[0]!, list[1]!];
  if (kept === BROKEN_LIST) return undefined;
  const start = LIST_HEADER_WORDS + unitHeads;
  const column = (first: number, count: number, offset: number) => {
    const values = new Uint32Array(count);
    const place = start + 2 * first + offset;
    for (let index = 0; index < count; index++) values[index] = list[place + 2 * index]!;
    return values;
  };
  return {
    keptSinks: list[2]!,
    combine: list[3]!,
    matched: list.slice(LIST_HEADER_WORDS, start),
    kept: column(0, kept, 0),
    keptRows: column(0, kept, 1),
    marginal: column(kept, marginal, 0),
    marginalRows: column(kept, marginal, 1),
  };
}
