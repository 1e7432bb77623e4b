/**
 * Selections as the attention kernel reads them.
 *
 * @module
 */

import type { Selection } from "../../cache/policy.ts";
import { type Combine, COMBINES } from "../../cache/policy_options.ts";
import type { SelectionRows } from "../../cache/kv_store.ts";
import { checkInteger } from "../../core/check.ts";
import { CALIBRATION_SINKS, LIST_HEADER_WORDS, listRoom } from "../../kernels/selection_list.ts";
import type { UnitShape } from "./head_groups.ts";

/** Sizes of the lists of a session. */
export interface ListShape {
  /** How heads are grouped. */
  readonly units: UnitShape;
  /** Words of one unit's list. */
  readonly listWords: number;
}

/**
 * Sizes lists so that every token fits.
 *
 * @param units How heads are grouped.
 * @param capacity Tokens that fit per sequence.
 * @returns Words of a list.
 */
export function listShape(units: UnitShape, capacity: number): ListShape {
  return { units, listWords: LIST_HEADER_WORDS + units.heads + 2 * capacity };
}

/** What the lists of a sequence hold. */
export interface ListSource {
  /** Tokens of each unit. */
  readonly selections: readonly Selection[];
  /** Their rows. */
  readonly rows: readonly SelectionRows[];
  /** Flat small head of each flat query head; zeros without a helper. */
  readonly match: Uint32Array;
  /** How kept and marginal tokens join. */
  readonly combine: Combine;
}

/**
 * Writes the lists of one sequence.
 *
 * @param lists Where they go, u32 [units, listWords]; what lies behind the end of a list stays as it was.
 * @param shape Sizes.
 * @param source Tokens, rows, matched heads.
 * @throws {RangeError} If a selection does not fit its list.
 */
export function packLists(
  lists: Uint32Array,
  { units, listWords }: ListShape,
  { selections, rows, match, combine }: ListSource,
): void {
  const room = listRoom({ listWords, unitHeads: units.heads });
  selections.forEach(({ kept, marginal }, unit) => {
    const entries = { value: kept.length + marginal.length, min: 1, max: room };
    checkInteger("list kept tokens", `tokens of unit ${unit}`, entries);
    const list = lists.subarray(unit * listWords, (unit + 1) * listWords);
    list[0] = kept.length;
    list[1] = marginal.length;
    // Ascending, so that sinks come first.
    list[2] = kept.subarray(0, CALIBRATION_SINKS).filter((token) =>
      token < CALIBRATION_SINKS
    ).length;
    list[3] = COMBINES.indexOf(combine);
    list.set(match.subarray(unit * units.heads, (unit + 1) * units.heads), LIST_HEADER_WORDS);
    const start = LIST_HEADER_WORDS + units.heads;
    writePairs(list.subarray(start), kept, rows[unit]!.kept);
    writePairs(list.subarray(start + 2 * kept.length), marginal, rows[unit]!.marginal);
  });
}

function writePairs(list: Uint32Array, tokens: Uint32Array, rows: Uint32Array): void {
  for (let index = 0; index < tokens.length; index++) {
    list[2 * index] = tokens[index]!;
    list[2 * index + 1] = rows[index]!;
  }
}
