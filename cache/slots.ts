/**
 * Assignment of one KV head's tokens to slots, and what a new selection must load.
 *
 * A full slot holds key and value, a value slot only a value. Slot 0 is the landing slot, for the newest token. A token
 * that loses its key stays in its full slot as a guest until the slot is needed, so that its value need not move.
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
  type SlotChange,
  type SlotTableOptions,
} from "./slot_change.ts";

const NONE = -1;
/** Roles of tokens in a plan. */
const UNPLANNED = 0;
const VALUE_ONLY = 1;
const FULL = 2;

/** Slots of one KV head. */
export class SlotTable {
  readonly #options: SlotTableOptions;
  /** Slot of each token. */
  readonly #slotOf: Int32Array;
  /** Token of each slot. */
  readonly #tokenOf: Int32Array;
  /** Whether a full slot holds its token's key. */
  readonly #hasKey: Uint8Array;
  /** Role of each token in the plan being applied. */
  readonly #roles: Uint8Array;
  readonly #freeFull: number[] = [];
  readonly #freeValue: number[] = [];
  #isStarted = false;

  /**
   * Starts with empty slots.
   *
   * @param options Sizes and rules.
   */
  constructor(options: SlotTableOptions) {
    const { pool: { full, valueOnly }, capacity } = options;
    this.#options = options;
    this.#slotOf = new Int32Array(capacity).fill(NONE);
    this.#tokenOf = new Int32Array(full + valueOnly).fill(NONE);
    this.#hasKey = new Uint8Array(full);
    this.#roles = new Uint8Array(capacity);
    for (let slot = full - 1; slot > 0; slot--) this.#freeFull.push(slot);
    for (let slot = full + valueOnly - 1; slot >= full; slot--) this.#freeValue.push(slot);
  }

  /**
   * Finds a token of the current selection.
   *
   * @param token Its position.
   * @returns Its slot, or -1 if it has none.
   */
  slotOf(token: number): number {
    return this.#slotOf[token] ?? NONE;
  }

  /**
   * Throws unless a selection can be applied.
   *
   * @param selection Full and value-only tokens.
   * @param limit Most tokens of either kind; the pools if left out.
   * @throws {RequirementError} If it exceeds the limit, is not ascending with the newest token as the last full one, or needs
   *   what was dropped for good.
   */
  check(selection: Selection, limit: PoolSize = this.#options.pool): void {
    const { label, pool, capacity, isPermanent } = this.#options;
    const full = Math.min(limit.full, pool.full);
    const valueOnly = Math.min(limit.valueOnly, pool.valueOnly);
    checkSelection(selection, { label, full, valueOnly, capacity });
    if (isPermanent && this.#isStarted) this.#checkHeld(selection);
  }

  /**
   * Assigns slots to the tokens of a selection; `check` it first.
   *
   * @param selection Full and value-only tokens.
   * @returns Slots, and what must be written into them.
   */
  apply({ full, valueOnly }: Selection): SlotChange {
    const newest = full.at(-1)!;
    const change = new Change();
    this.#isStarted = true;
    this.#setRoles(full, FULL);
    this.#setRoles(valueOnly, VALUE_ONLY);
    const landed = this.#land(newest, change);
    this.#freeUnplanned(change);
    this.#makeRoom(full, change);
    for (const token of full) if (token !== newest) this.#placeFull(token, landed, change);
    for (const token of valueOnly) this.#placeValueOnly(token, landed, change);
    this.#setRoles(full, UNPLANNED);
    this.#setRoles(valueOnly, UNPLANNED);
    change.counts.planned = full.length + valueOnly.length;
    const slots = (tokens: Uint32Array) => tokens.map((token) => this.#slotOf[token]!);
    return { ...change, fullSlots: slots(full), valueOnlySlots: slots(valueOnly) };
  }

  /** Throws if a selection brings back a token or a key; called for policies that drop for good. */
  #checkHeld({ full, valueOnly }: Selection): void {
    const { label } = this.#options;
    const hasKey = (slot: number) => slot < this.#options.pool.full && this.#hasKey[slot] === 1;
    const newest = full.at(-1)!;
    for (const token of full) {
      const slot = this.#slotOf[token]!;
      if (token !== newest && (slot === NONE || !hasKey(slot))) {
        throw goneError(label, token, "key");
      }
    }
    for (const token of valueOnly) {
      if (this.#slotOf[token] === NONE) throw goneError(label, token, "value");
    }
  }

  #setRoles(tokens: Uint32Array, role: number): void {
    for (const token of tokens) this.#roles[token] = role;
  }

  /** Puts the newest token into the landing slot; returns the token that must leave it. */
  #land(newest: number, { counts }: Change): number {
    const landed = this.#tokenOf[0]!;
    if (landed === newest) return NONE;
    if (landed !== NONE) {
      this.#slotOf[landed] = NONE;
      if (this.#roles[landed] === UNPLANNED) counts.freed++;
    }
    counts.entered++;
    if (this.#slotOf[newest] !== NONE) this.#free(this.#slotOf[newest]!);
    this.#occupy(0, newest);
    this.#hasKey[0] = 1;
    return landed;
  }

  /** Frees the slots of tokens that left; tokens that only lose their key stay as guests. */
  #freeUnplanned({ counts }: Change): void {
    const { full } = this.#options.pool;
    for (let slot = 1; slot < this.#tokenOf.length; slot++) {
      const token = this.#tokenOf[slot]!;
      if (token === NONE) continue;
      const role = this.#roles[token];
      if (role === UNPLANNED) {
        counts.freed++;
        this.#free(slot);
      } else if (role === VALUE_ONLY && slot < full && this.#hasKey[slot] === 1) {
        counts.demoted++;
        this.#hasKey[slot] = 0;
      }
    }
  }

  /** Moves guests to value slots until there is a full slot for every full token. */
  #makeRoom(tokens: Uint32Array, change: Change): void {
    const { full } = this.#options.pool;
    let missing = -this.#freeFull.length;
    for (const token of tokens) {
      const slot = this.#slotOf[token]!;
      if (slot >= full) this.#freeValue.push(slot);
      if (slot >= full || slot === NONE) missing++;
    }
    for (let slot = 1; slot < full && missing > 0; slot++) {
      const token = this.#tokenOf[slot]!;
      if (token === NONE || this.#roles[token] !== VALUE_ONLY) continue;
      this.#free(slot);
      change.valueLoads.push(token, this.#take(this.#freeValue, token));
      change.counts.poolMoves++;
      missing--;
    }
  }

  #placeFull(token: number, landed: number, { counts, keyLoads, valueLoads }: Change): void {
    const { full } = this.#options.pool;
    const old = this.#slotOf[token]!;
    const isInPlace = old !== NONE && old < full;
    if (isInPlace && this.#hasKey[old] === 1) return;
    if (!isInPlace && old !== NONE && this.#tokenOf[old] === token) this.#tokenOf[old] = NONE;
    const slot = isInPlace ? old : this.#take(this.#freeFull, token);
    this.#hasKey[slot] = 1;
    keyLoads.push(token, slot);
    if (!isInPlace) valueLoads.push(token, slot);
    if (token === landed) {
      counts.landing += 2;
      return;
    }
    counts.loadedKeys++;
    counts.loadedTokens++;
    if (old === NONE) {
      counts.entered++;
      counts.loadedValues++;
    } else {
      counts.promoted++;
      if (!isInPlace) counts.poolMoves++;
    }
  }

  #placeValueOnly(token: number, landed: number, { counts, valueLoads }: Change): void {
    if (this.#slotOf[token] !== NONE) return;
    valueLoads.push(token, this.#take(this.#freeValue, token));
    if (token === landed) {
      counts.landing++;
      return;
    }
    counts.entered++;
    counts.loadedValues++;
    counts.loadedTokens++;
  }

  #occupy(slot: number, token: number): void {
    this.#slotOf[token] = slot;
    this.#tokenOf[slot] = token;
  }

  #take(free: number[], token: number): number {
    const slot = free.pop()!;
    this.#occupy(slot, token);
    return slot;
  }

  #free(slot: number): void {
    this.#slotOf[this.#tokenOf[slot]!] = NONE;
    this.#tokenOf[slot] = NONE;
    (slot < this.#options.pool.full ? this.#freeFull : this.#freeValue).push(slot);
  }
}

/** A change while it is being computed. */
class Change {
  readonly keyLoads: number[] = [];
  readonly valueLoads: number[] = [];
  readonly counts = noCounts();
}
