/**
 * Options of slot tables, checks of selections, and the changes and counts that selections cause.
 *
 * @module
 */

import { RequirementError } from "../core/check.ts";
import type { Selection } from "./policy.ts";

/** Slots of one KV head. */
export interface PoolSize {
  /** Slots with key and value, the landing slot included. */
  readonly full: number;
  /** Slots with value only. */
  readonly valueOnly: number;
}

/** Sizes and rules of a slot table. */
export interface SlotTableOptions {
  /** Names the KV head in errors, as in "layer 3, KV head 1, sequence 0". */
  readonly label: string;
  /** Its slots. */
  readonly pool: PoolSize;
  /** Positions that tokens may have. */
  readonly capacity: number;
  /** Whether dropped tokens and keys never return. */
  readonly isPermanent: boolean;
}

/** What a new selection needs and changes. */
export interface SlotChange {
  /** Slot of each full token, in list order; below `full`. */
  readonly fullSlots: Uint32Array;
  /** Slot of each value-only token, in list order; value slots are numbered from `full` on. */
  readonly valueOnlySlots: Uint32Array;
  /** Keys to write: token, slot, token, slot and so on. */
  readonly keyLoads: readonly number[];
  /** Values to write, as `keyLoads`. */
  readonly valueLoads: readonly number[];
  /** Counts of tokens. */
  readonly counts: SlotCounts;
}

/** Names of the counts of a change. */
const SLOT_COUNTS = [
  "planned",
  "entered",
  "freed",
  "promoted",
  "demoted",
  "loadedTokens",
  "loadedKeys",
  "loadedValues",
  "poolMoves",
  "landing",
] as const;

/**
 * Counts of one change. `planned`: tokens of the selection. `entered`: those that had no slot before, the newest one
 * included. `freed`: tokens that lost theirs. `promoted`: tokens with a value that gained their key. `demoted`: tokens
 * that lost their key. `loadedTokens`, `loadedKeys`, `loadedValues`: what the device did not have. `poolMoves`: values
 * that move from one pool to the other. `landing`: keys and values that leave the landing slot.
 */
export type SlotCounts = Record<typeof SLOT_COUNTS[number], number>;

/**
 * Throws unless a selection is within its limits and lists each token once and ascending, with the newest one as the last
 * full one.
 *
 * @param selection Full and value-only tokens.
 * @param limits Name of the KV head, most tokens of either kind, positions that tokens may have.
 * @throws {RequirementError} If it is not.
 */
export function checkSelection(
  selection: Selection,
  limits: PoolSize & { readonly label: string; readonly capacity: number },
): void {
  const { full: newFull, valueOnly: newValueOnly } = selection;
  const { label, full, valueOnly, capacity } = limits;
  const action = "apply a plan";
  if (newFull.length > full || newValueOnly.length > valueOnly) {
    throw new RequirementError({
      action,
      requirement:
        `${label} must keep at most ${full} tokens with keys and ${valueOnly} with values only`,
      state: `counts are ${newFull.length} and ${newValueOnly.length}`,
    });
  }
  if (isOrdered(selection, capacity)) return;
  throw new RequirementError({
    action,
    requirement:
      `${label} must list each token once and ascending, the newest one, below ${capacity}, as the last kept one`,
    state: `last kept token is ${newFull.at(-1)}`,
  });
}

/**
 * The error of a plan that needs what was dropped for good.
 *
 * @param label Name of the KV head.
 * @param token Position.
 * @param what Key or value.
 * @returns The error to throw.
 */
export function goneError(label: string, token: number, what: "key" | "value"): RequirementError {
  return new RequirementError({
    action: `load a ${what}`,
    requirement: `${label} must still hold token ${token}`,
    state: `state is dropped for good`,
  });
}

function isOrdered(
  { full, valueOnly }: Selection,
  capacity: number,
): boolean {
  const newest = full.at(-1) ?? capacity;
  if (newest >= capacity || (valueOnly.at(-1) ?? -1) >= newest) return false;
  if (!isAscending(full) || !isAscending(valueOnly)) return false;
  let index = 0;
  for (const token of valueOnly) {
    while (full[index]! < token) index++;
    if (full[index] === token) return false;
  }
  return true;
}

function isAscending(tokens: Uint32Array): boolean {
  for (let index = 1; index < tokens.length; index++) {
    if (tokens[index]! <= tokens[index - 1]!) return false;
  }
  return true;
}

/** Counts of zero. */
export function noCounts(): SlotCounts {
  return Object.fromEntries(SLOT_COUNTS.map((name) => [name, 0])) as SlotCounts;
}

/** Adds the counts of one KV head to a sum. */
export function addCounts(sum: SlotCounts, counts: Readonly<SlotCounts>): void {
  for (const name of SLOT_COUNTS) sum[name] += counts[name];
}
