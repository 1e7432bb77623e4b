/**
 * How the tokens of a selection are listed for kernels.
 *
 * A list is `listWords` words: kept count, marginal count, how many of the kept tokens are sinks, how the two parts
 * join (an index in `MARGINAL_MODES`); then the matched helper head of each of the selection's query heads; then token and
 * row of each kept token, ascending; then the same of each marginal token. A row is one head vector of `keys` and `values`, or only of `values` for a marginal token.
 *
 * @module
 */

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

/** A list, read. */
export interface SelectionEntries {
  /** Kept tokens whose positions are below `CALIBRATION_SINKS`. */
  readonly keptSinks: number;
  /** How kept and marginal tokens join, an index in `MARGINAL_MODES`. */
  readonly combine: number;
  /** Helper head of each query head. */
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
