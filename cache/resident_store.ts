/**
 * A cache that holds every token on the device: plans decide what attention sees, and migration is only counted.
 *
 * @see docs/method.md, "Stores": the mode for software GPUs and for runs that measure quality
 * @module
 */

import { type CacheShape, type FullCache, type LayerCache, layerSlots } from "./full_cache.ts";
import {
  applyLayers,
  headIndex,
  headOfLayer,
  type HeadPlace,
  type KvStore,
  type LayerRows,
  type LayerSlots,
  perHead,
  selectionsPerHead,
  type StepRows,
} from "./kv_store.ts";
import type { Selection } from "./policy.ts";
import { ResidencyTable } from "./residency.ts";
import { addCounts, noCounts } from "./slot_change.ts";

/** Wraps a full cache; a token's row is (sequence * kvHeads + kvHead) * slots + token % slots. */
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

  /** Slots are positions, modulo as many as there are. */
  slots(layer: number): LayerSlots {
    return { fullSlots: layerSlots(this.shape, layer) };
  }

  /** Finds the rows of a plan and counts what a tiered store would move; see {@linkcode KvStore.apply}. */
  apply(selections: readonly Selection[]): StepRows {
    const heads = selectionsPerHead(this.shape, selections);
    const tables = this.#allTables();
    heads.forEach((selection, index) => tables[index]!.check(selection));
    return applyLayers(this.shape, heads, (layer, chosen) => this.#apply(layer, chosen));
  }

  /** Does so for one layer; see {@linkcode KvStore.applyLayer}. */
  applyLayer(layer: number, selections: readonly Selection[]): LayerRows {
    const tables = this.#allTables();
    selections.forEach((selection, place) =>
      tables[headIndex(this.shape, headOfLayer(this.shape, layer, place))]!.check(selection)
    );
    return this.#apply(layer, selections);
  }

  #apply(layer: number, selections: readonly Selection[]): LayerRows {
    const { kvHeads } = this.shape;
    const slots = layerSlots(this.shape, layer);
    const tables = this.#allTables();
    const counts = noCounts();
    const rows = selections.map((selection, index) => {
      const place = headOfLayer(this.shape, layer, index);
      addCounts(counts, tables[headIndex(this.shape, place)]!.apply(selection));
      const head = place.sequence * kvHeads + place.kvHead;
      const { full, valueOnly } = selection;
      return { full: slotRows(full, head, slots), valueOnly: slotRows(valueOnly, head, slots) };
    });
    return { rows, counts };
  }

  #allTables(): readonly ResidencyTable[] {
    return this.#tables ??= perHead(this.shape, (place, label) => this.#table(place, label));
  }

  /** Forgets what was kept of a sequence, which holds another text from now on. */
  forget(sequence: number): void {
    if (!this.#tables) return;
    this.#tables = perHead(
      this.shape,
      (place, label) =>
        place.sequence === sequence
          ? this.#table(place, label)
          : this.#tables![headIndex(this.shape, place)]!,
    );
  }

  #table({ sequence }: HeadPlace, label: string): ResidencyTable {
    const { capacity } = this.shape;
    return new ResidencyTable({ label, capacity, isPermanent: this.#isPermanent(sequence) });
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

/**
 * Rows of tokens that are at their positions modulo the slots of a KV head.
 *
 * @param tokens Positions.
 * @param head Number of the KV head among those of all sequences.
 * @param slots Slots of each KV head.
 * @returns A row for each token. Where the ring holds a newer token in its place, no row of attention sees the older one.
 */
export function slotRows(tokens: Uint32Array, head: number, slots: number): Uint32Array {
  const rows = new Uint32Array(tokens.length);
  const first = head * slots;
  for (let index = 0; index < rows.length; index++) rows[index] = first + tokens[index]! % slots;
  return rows;
}
