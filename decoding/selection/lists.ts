/**
 * Selections as the attention kernel reads them.
 *
 * @module
 */

import type { Selection } from "../../cache/policy.ts";
import { type Combine, COMBINES, type ResolvedPolicy } from "../../cache/policy_options.ts";
import { type CacheShape, layerSlots } from "../../cache/full_cache.ts";
import type { SelectionRows } from "../../cache/kv_store.ts";
import { slotRows } from "../../cache/resident_store.ts";
import { checkInteger } from "../../core/check.ts";
import {
  CALIBRATION_SINKS,
  LIST_HEADER_WORDS,
  listRoom,
  WEIGHED_REST,
} from "../../kernels/selection_list.ts";
import type { HeadGroups } from "./head_groups.ts";
import { restSource } from "./rest.ts";

/** Sizes of the lists of a session. */
export interface ListShape {
  /** How heads are grouped. */
  readonly groups: HeadGroups;
  /** Words of one head group's list. */
  readonly listWords: number;
}

/** Sizes lists so that every token fits. */
export function listShape(groups: HeadGroups, capacity: number): ListShape {
  return { groups, listWords: LIST_HEADER_WORDS + groups.heads + 2 * capacity };
}

/** Content of the lists of a sequence. */
export interface ListSource {
  /** Tokens of each head group. */
  readonly selections: readonly Selection[];
  /** Their rows. */
  readonly rows: readonly SelectionRows[];
  /** Flat small head of each flat query head; zeros without a small model. */
  readonly match: Uint32Array;
  /** How the attention of full and of marginal tokens is combined. */
  readonly combine: Combine;
  /** Whether the small model's row tells the mass of tokens that are not listed (D-31); false if left out. */
  readonly isRestWeighed?: boolean;
}

/** The word of a list that says how its parts join. */
export function joinWord(
  { combine, isRestWeighed }: Omit<ListSource, "selections" | "rows" | "match">,
) {
  return COMBINES.indexOf(combine) + (isRestWeighed ? WEIGHED_REST : 0);
}

/**
 * Writes the lists of one sequence.
 *
 * @param lists Written to, u32 [groups, listWords]; words after the end of a list stay as they were.
 * @param shape Sizes.
 * @param source Tokens, rows, matched heads.
 * @throws {RequirementError} If a selection does not fit its list.
 */
export function packLists(
  lists: Uint32Array,
  { groups, listWords }: ListShape,
  { selections, rows, match, ...join }: ListSource,
): void {
  const room = listRoom({ listWords, groupHeads: groups.heads });
  selections.forEach(({ full, valueOnly }, group) => {
    const entries = { value: full.length + valueOnly.length, min: 1, max: room };
    checkInteger("list kept tokens", `tokens of head group ${group}`, entries);
    const list = lists.subarray(group * listWords, (group + 1) * listWords);
    list[0] = full.length;
    list[1] = valueOnly.length;
    // Ascending, so that sinks come first.
    list[2] = full.subarray(0, CALIBRATION_SINKS).filter((token) =>
      token < CALIBRATION_SINKS
    ).length;
    list[3] = joinWord(join);
    list.set(match.subarray(group * groups.heads, (group + 1) * groups.heads), LIST_HEADER_WORDS);
    const start = LIST_HEADER_WORDS + groups.heads;
    writePairs(list.subarray(start), full, rows[group]!.full);
    writePairs(list.subarray(start + 2 * full.length), valueOnly, rows[group]!.valueOnly);
  });
}

function writePairs(list: Uint32Array, tokens: Uint32Array, rows: Uint32Array): void {
  for (let index = 0; index < tokens.length; index++) {
    list[2 * index] = tokens[index]!;
    list[2 * index + 1] = rows[index]!;
  }
}

/** Gives each of `lists` lists the selection of its head group. */
export function perGroup(selections: readonly Selection[], lists: number): Selection[] {
  return Array.from(
    { length: lists },
    (_, list) => selections[Math.floor(list * selections.length / lists)]!,
  );
}

/**
 * Finds the rows of listed tokens in a cache that holds tokens at their positions, modulo the slots of a ring.
 *
 * @param shape Sizes.
 * @param listed Tokens of each list.
 * @param place The cache, which sequence, and the layer of the first list.
 * @returns Rows of each list.
 */
export function residentRows(
  { groups: { perLayer } }: Pick<ListShape, "groups">,
  listed: readonly Selection[],
  { cache, sequence, firstLayer = 0 }: ResidentPlace,
): SelectionRows[] {
  const { kvHeads } = cache;
  return listed.map(({ full, valueOnly }, group) => {
    const head = sequence * kvHeads + Math.floor(group % perLayer * kvHeads / perLayer);
    const slots = layerSlots(cache, firstLayer + Math.floor(group / perLayer));
    return { full: slotRows(full, head, slots), valueOnly: slotRows(valueOnly, head, slots) };
  });
}

/** Where listed tokens are. */
interface ResidentPlace {
  /** Sizes of the cache. */
  readonly cache: Pick<CacheShape, "kvHeads" | "capacity" | "rings">;
  /** Which sequence. */
  readonly sequence: number;
  /** Layer of the first list; the first one if left out. */
  readonly firstLayer?: number;
}

/**
 * Writes the lists of the only sequence of a cache that holds tokens at their positions, modulo the slots of a ring.
 *
 * @param shape Sizes.
 * @param selections Tokens of each of the policy's head groups.
 * @param options Sizes of the cache, matched heads, the policy.
 * @returns u32 [list groups, listWords].
 */
export function residentLists(
  shape: ListShape,
  selections: readonly Selection[],
  options: Pick<ResidentPlace, "cache"> & {
    readonly match: Uint32Array;
    readonly policy: Pick<ResolvedPolicy, "combine" | "rest" | "saliencySource" | "index">;
  },
): Uint32Array<ArrayBuffer> {
  const { groups: { total }, listWords } = shape;
  const { cache, match, policy } = options;
  const { combine } = policy;
  const listed = perGroup(selections, total);
  const rows = residentRows(shape, listed, { cache, sequence: 0 });
  const lists = new Uint32Array(total * listWords);
  const isRestWeighed = restSource(policy) === "row";
  packLists(lists, shape, { selections: listed, rows, match, combine, isRestWeighed });
  return lists;
}
