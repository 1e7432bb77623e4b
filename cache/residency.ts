/**
 * What one KV head holds of each token, and what a new selection would have to load, where no slots are handed out.
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

/** What a table is made for. */
export interface ResidencyOptions {
  /** Names the KV head in errors, as in "layer 3, KV head 1, sequence 0". */
  readonly label: string;
  /** Positions that tokens may have. */
  readonly capacity: number;
  /** Whether tokens that left, and keys that were given up, never return. */
  readonly isPermanent: boolean;
}

/** Bookkeeping of one KV head whose tokens all stay where they are; counts as `SlotTable` does. */
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
   * Throws unless a selection can be had.
   *
   * @param selection Kept and marginal tokens.
   * @param limit Most tokens of either kind; all if left out.
   * @throws {RangeError} If it exceeds the limit, is not ascending with the newest token as the last kept one, or asks
   *   for what was dropped for good.
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
   * Takes a selection in place of the one before; `check` it first.
   *
   * @param selection Kept and marginal tokens.
   * @returns Counts of tokens; nothing ever changes pools or leaves a landing slot.
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

  /** Newest token of the selection before; the newer ones of a block have been computed since, and not dropped. */
  get #newest(): number {
    return this.#held?.full.at(-1) ?? Infinity;
  }

  /** Counts keys, and values with them, that were not held; those of tokens newer than the last plan are computed. */
  #countFull(kept: Uint32Array, counts: SlotCounts): void {
    const last = this.#newest;
    const newest = kept.length - 1;
    for (let index = 0; index < kept.length; index++) {
      const residency = this.#residency[kept[index]!]!;
      if (residency === FULL) continue;
      if (residency === NONE) counts.entered++;
      if (index === newest || kept[index]! > last) continue;
      counts.loadedKeys++;
      counts.loadedTokens++;
      if (residency === NONE) counts.loadedValues++;
      else counts.promoted++;
    }
  }

  /** Counts values that were not held, and keys that are given up; the last step's newest token just moves on. */
  #countValueOnly(marginal: Uint32Array, counts: SlotCounts): void {
    const landed = this.#held?.full.at(-1);
    for (let index = 0; index < marginal.length; index++) {
      const residency = this.#residency[marginal[index]!]!;
      if (residency === FULL && marginal[index] !== landed) counts.demoted++;
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
