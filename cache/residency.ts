/**
 * What one KV head holds of each token, and what a new selection would have to load, in a store without slots.
 *
 * @see docs/method.md, "Stores"
 * @module
 */

import type { Selection } from "./policy.ts";
import {
  checkSelection,
  goneError,
  noCounts,
  type PoolSize,
  type SlotCounts,
} from "./slot_change.ts";

const NONE = 0;
const VALUE_ONLY = 1;
const FULL = 2;

/** Sizes and rules of a table. */
export interface ResidencyOptions {
  /** Names the KV head in errors, as in "layer 3, KV head 1, sequence 0". */
  readonly label: string;
  /** Positions that tokens may have. */
  readonly capacity: number;
  /** Whether dropped tokens and keys never return. */
  readonly isPermanent: boolean;
}

/** Bookkeeping of one KV head whose tokens never move; it counts as `SlotTable` does. */
export class ResidencyTable {
  readonly #options: ResidencyOptions;
  readonly #residency: Uint8Array;
  #held: Selection | undefined;

  /**
   * Starts with nothing held.
   *
   * @param options Sizes and rules.
   */
  constructor(options: ResidencyOptions) {
    this.#options = options;
    this.#residency = new Uint8Array(options.capacity);
  }

  /**
   * Throws unless a selection can be applied.
   *
   * @param selection Full and value-only tokens.
   * @param limit Most tokens of either kind; all if left out.
   * @throws {RequirementError} If it exceeds the limit, is not ascending with the newest token as the last full one, or needs
   *   what was dropped for good.
   */
  check(selection: Selection, limit?: PoolSize): void {
    const { capacity, isPermanent, label } = this.#options;
    const { full = capacity, valueOnly = capacity } = limit ?? {};
    checkSelection(selection, { label, capacity, full, valueOnly });
    if (!isPermanent || !this.#held) return;
    const last = this.#newest;
    for (const token of selection.full) {
      if (this.#residency[token] !== FULL && token <= last) throw goneError(label, token, "key");
    }
    for (const token of selection.valueOnly) {
      if (this.#residency[token] === NONE) throw goneError(label, token, "value");
    }
  }

  /**
   * Replaces the selection before; `check` the new one first.
   *
   * @param selection Full and value-only tokens.
   * @returns Counts of tokens; none ever changes pools or leaves a landing slot.
   */
  apply(selection: Selection): SlotCounts {
    const { full, valueOnly } = selection;
    const counts = noCounts();
    counts.planned = full.length + valueOnly.length;
    this.#countFull(full, counts);
    this.#countValueOnly(valueOnly, counts);
    const before = this.#held;
    const stayed = counts.planned - counts.entered;
    counts.freed = before ? before.full.length + before.valueOnly.length - stayed : 0;
    if (before) {
      this.#set(before.full, NONE);
      this.#set(before.valueOnly, NONE);
    }
    this.#set(full, FULL);
    this.#set(valueOnly, VALUE_ONLY);
    this.#held = selection;
    return counts;
  }

  /** Newest token of the selection before; newer ones of a block have been computed since, not dropped. */
  get #newest(): number {
    return this.#held?.full.at(-1) ?? Infinity;
  }

  /** Counts keys and values that were not held; those of tokens newer than the last plan were computed, not loaded. */
  #countFull(full: Uint32Array, counts: SlotCounts): void {
    const last = this.#newest;
    const newest = full.length - 1;
    for (let index = 0; index < full.length; index++) {
      const residency = this.#residency[full[index]!]!;
      if (residency === FULL) continue;
      if (residency === NONE) counts.entered++;
      if (index === newest || full[index]! > last) continue;
      counts.loadedKeys++;
      counts.loadedTokens++;
      if (residency === NONE) counts.loadedValues++;
      else counts.promoted++;
    }
  }

  /** Counts values that were not held, and keys that are dropped, except that of the last step's newest token. */
  #countValueOnly(valueOnly: Uint32Array, counts: SlotCounts): void {
    const landed = this.#held?.full.at(-1);
    for (let index = 0; index < valueOnly.length; index++) {
      const residency = this.#residency[valueOnly[index]!]!;
      if (residency === FULL && valueOnly[index] !== landed) counts.demoted++;
      if (residency !== NONE) continue;
      counts.entered++;
      counts.loadedValues++;
      counts.loadedTokens++;
    }
  }

  #set(tokens: Uint32Array, residency: number): void {
    for (let index = 0; index < tokens.length; index++) this.#residency[tokens[index]!] = residency;
  }
}
