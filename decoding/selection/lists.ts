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

/**
 * Writes the lists of a selection for a cache that holds every token at its position.
 *
 * @param shape Sizes.
 * @param selections Tokens of each of the policy's units.
 * @param options KV heads of a layer, matched heads, how kept and marginal tokens join.
 * @returns u32 [list units, listWords].
 */
export function residentLists(
  shape: ListShape & { readonly capacity: number },
  selections: readonly Selection[],
  options: { readonly kvHeads: number; readonly match: Uint32Array; readonly combine: Combine },
): Uint32Array<ArrayBuffer> {
  const { units: { total, perLayer }, listWords, capacity } = shape;
  const { kvHeads, match, combine } = options;
  const listed = Array.from(
    { length: total },
    (_, unit) => selections[Math.floor(unit * selections.length / total)]!,
  );
  const rows = listed.map(({ kept, marginal }, unit) => {
    const first = Math.floor(unit % perLayer * kvHeads / perLayer) * capacity;
    const toRow = (token: number) => first + token;
    return { kept: kept.map(toRow), marginal: marginal.map(toRow) };
  });
  const lists = new Uint32Array(total * listWords);
  packLists(lists, shape, { selections: listed, rows, match, combine });
  return lists;
}
