/**
 * How the tokens of a selection are listed for kernels.
 *
 * A list is `listWords` words: kept count, marginal count, number of sinks among the kept tokens, how kept and marginal
 * tokens join (an index in `MARGINAL_MODES`, see also `WEIGHED_REST`); then the matched small head of each of the
 * selection's query heads; then token and row of each kept token, ascending; then the same for each marginal token. A row
 * is one head vector of `keys` and `values`, or of `values` only for a marginal token.
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";

/** Words before the matched heads. */
export const LIST_HEADER_WORDS = 4;
/** Kept count of a list that could not be made, because a score was not a number or the list is too short. */
export const BROKEN_LIST = 0xffffffff;
/**
 * Added to how tokens join where a row tells the mass of tokens that are not listed (D-31): full tokens are then weighed
 * by it even if no others are listed.
 */
export const WEIGHED_REST = 0x100;
/** First tokens that `joint_nosink` leaves out of its calibration where they are kept. */
export const CALIBRATION_SINKS = 4;

/** Sizes of a list. */
export interface ListSize {
  /** Words of the list. */
  readonly listWords: number;
  /** Query heads that share the selection. */
  readonly groupHeads: number;
}

/** The lists of a layer. */
export interface ListedLayer extends ListSize {
  /** Sequences in the step. */
  readonly sequences: number;
  /** Selections of a layer. */
  readonly groupsPerLayer: number;
  /** First selection of the layer. */
  readonly groupOffset: number;
  /** Selections of all layers. */
  readonly groups: number;
}

/**
 * Checks the lists of a layer.
 *
 * @param action What could not be done.
 * @param layer Sizes.
 * @returns Parameters of kernels that read lists.
 * @throws {RequirementError} If a size is not positive, or the layer's selections are out of range.
 */
export function listParams(action: string, layer: ListedLayer): {
  readonly group_offset: number;
  readonly groups: number;
  readonly group_heads: number;
  readonly list_words: number;
} {
  const { groupsPerLayer, groupOffset, groups, groupHeads, listWords } = layer;
  for (const name of ["sequences", "groupsPerLayer", "groupHeads"] as const) {
    checkInteger(action, name, { value: layer[name], min: 1 });
  }
  checkInteger(action, "groupOffset", { value: groupOffset, min: 0, max: groups - groupsPerLayer });
  checkInteger(action, "listWords", { value: listWords, min: LIST_HEADER_WORDS + groupHeads });
  return { group_offset: groupOffset, groups, group_heads: groupHeads, list_words: listWords };
}

/** Contents of a list. */
export interface SelectionEntries {
  /** Kept tokens whose positions are below `CALIBRATION_SINKS`. */
  readonly fullSinks: number;
  /** How kept and marginal tokens join, an index in `MARGINAL_MODES`. */
  readonly combine: number;
  /** Whether a row tells the mass of tokens that are not listed. */
  readonly isRestWeighed: boolean;
  /** Small head of each query head. */
  readonly matched: Uint32Array;
  /** Positions with key and value. */
  readonly full: Uint32Array;
  /** Their rows. */
  readonly fullRows: Uint32Array;
  /** Positions with value only. */
  readonly valueOnly: Uint32Array;
  /** Their rows in `values`. */
  readonly valueOnlyRows: Uint32Array;
}

/**
 * Counts the tokens that fit a list.
 *
 * @param size Sizes of the list.
 * @returns Kept and marginal tokens together.
 */
export function listRoom({ listWords, groupHeads }: ListSize): number {
  return Math.floor((listWords - LIST_HEADER_WORDS - groupHeads) / 2);
}

/**
 * Reads a list.
 *
 * @param list Its words.
 * @param groupHeads Query heads that share the selection.
 * @returns What it holds; undefined for a broken list.
 */
export function readList(list: Uint32Array, groupHeads: number): SelectionEntries | undefined {
  const [kept, marginal] = [list[0]!, list[1]!];
  if (kept + marginal > listRoom({ listWords: list.length, groupHeads })) return undefined;
  const start = LIST_HEADER_WORDS + groupHeads;
  const column = (first: number, count: number, offset: number) => {
    const values = new Uint32Array(count);
    const place = start + 2 * first + offset;
    for (let index = 0; index < count; index++) values[index] = list[place + 2 * index]!;
    return values;
  };
  return {
    fullSinks: list[2]!,
    combine: list[3]! % WEIGHED_REST,
    isRestWeighed: list[3]! >= WEIGHED_REST,
    matched: list.slice(LIST_HEADER_WORDS, start),
    full: column(0, kept, 0),
    fullRows: column(0, kept, 1),
    valueOnly: column(kept, marginal, 0),
    valueOnlyRows: column(kept, marginal, 1),
  };
}

/**
 * Reads the list of a head group in a run of a kernel.
 *
 * @param lists Lists of all sequences, u32 [sequences, groups, list_words].
 * @param params Parameters of the kernel.
 * @param headGroup Head group, counted over all sequences.
 * @returns What it holds; undefined for a broken list.
 */
export function listOf(
  lists: Uint32Array,
  { list_words, group_heads }: { readonly list_words: number; readonly group_heads: number },
  headGroup: number,
): SelectionEntries | undefined {
  return readList(
    lists.subarray(headGroup * list_words, (headGroup + 1) * list_words),
    group_heads,
  );
}
