/**
 * A cache that holds every token on the device: plans decide what attention sees, and migration is only counted.
 *
 * @see docs/method.md, "Stores": the mode for software GPUs and for runs that measure quality
 * @module
 */

import type { CacheShape, FullCache, LayerCache } from "./full_cache.ts";
import {
  type KvStore,
  type LayerSlots,
  migrationOf,
  perHead,
  selectionsPerHead,
  type StepRows,
} from "./kv_store.ts";
import type { Selection } from "./policy.ts";
import { ResidencyTable } from "./residency.ts";
import { addCounts, noCounts } from "./slot_change.ts";

/** Wraps a full cache; a token's row is (sequence * kvHeads + kvHead) * capacity + token. */
export class ResidentStore implements KvStore {
  /** Sizes of the model and most tokens per sequence. */
  readonly shape: CacheShape;
  /** Buffers of the full cache. */
  readonly layers: readonly LayerCache[];
  /** Plans need not pass through the host. */
  readonly needsPlan = false;
  /** Nothing is on the host. */
  readonly hostBytes = 0;
  readonly #cache: FullCache;
  #isRestored = false;
  readonly #isPermanent: (sequence: number) => boolean;
  #tables: readonly ResidencyTable[] | undefined;

  /**
   * Wraps a cache.
   *
   * @param cache Complete cache; disposed with the store.
   * @param isPermanent Whether tokens that leave a sequence's plan are dropped for good (candidates "kept"); false for all
   *   if left out.
   */
  constructor(cache: FullCache, isPermanent: (sequence: number) => boolean = () => false) {
    this.shape = cache.shape;
    this.layers = cache.layers;
    this.#cache = cache;
    this.#isPermanent = isPermanent;
  }

  /** Bytes of the full cache. */
  get byteLength(): number {
    return this.#cache.byteLength;
  }

  /** Slots are positions. */
  slots(): LayerSlots {
    return { fullSlots: this.shape.capacity };
  }

  /** Finds the rows of a plan and counts what a tiered store would move; see {@linkcode KvStore.apply}. */
  apply(selections: readonly Selection[]): StepRows {
    const { layers, kvHeads, capacity, headDim } = this.shape;
    const heads = selectionsPerHead(this.shape, selections);
    const tables = this.#tables ??= perHead(
      this.shape,
      ({ sequence }, label) =>
        new ResidencyTable({ label, capacity, isPermanent: this.#isPermanent(sequence) }),
    );
    heads.forEach((selection, index) => tables[index]!.check(selection));
    const counts = noCounts();
    const rows = heads.map((selection, index) => {
      addCounts(counts, tables[index]!.apply(selection));
      const sequence = Math.floor(index / kvHeads / layers);
      const first = (sequence * kvHeads + index % kvHeads) * capacity;
      return { full: plus(selection.full, first), valueOnly: plus(selection.valueOnly, first) };
    });
    return { rows, migration: migrationOf(counts, 2 * headDim) };
  }

  /** The newest token stays where it is. */
  takeNewest(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  /** Returns the full cache, which has not changed; see {@linkcode KvStore.restore}. */
  restore(): Promise<FullCache> {
    this.#isRestored = true;
    return Promise.resolve(this.#cache);
  }

  /** Frees the full cache, unless it has been restored. */
  [Symbol.dispose](): void {
    if (!this.#isRestored) this.#cache[Symbol.dispose]();
  }
}

function plus(tokens: Uint32Array, first: number): Uint32Array {
  const rows = new Uint32Array(tokens.length);
  for (let index = 0; index < rows.length; index++) rows[index] = first + tokens[index]!;
  return rows;
}
