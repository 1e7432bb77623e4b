/**
 * A cache whose device part holds only the planned tokens; the host holds all of them.
 *
 * @see docs/method.md, "Stores"
 * @module
 */

import { GpuError, RequirementError } from "../core/check.ts";
import type { Device } from "../gpu/device.ts";
import {
  type CacheShape,
  createFullCache,
  type FullCache,
  fullCacheBytes,
  type LayerCache,
} from "./full_cache.ts";
import {
  applyLayers,
  headIndex,
  headOfLayer,
  type HeadPlace,
  type KvStore,
  type LayerRows,
  type LayerSlots,
  perHead,
  type SelectionRows,
  selectionsPerHead,
  type StepRows,
} from "./kv_store.ts";
import type { Selection } from "./policy.ts";
import { addCounts, noCounts, type SlotChange } from "./slot_change.ts";
import { SlotTable } from "./slots.ts";
import { createParts, type TieredParts, type TieredStoreOptions } from "./tiered_parts.ts";
import type { LayerLoads } from "./tiered_upload.ts";

/** Complete copy on the host, pools of slots on the device. */
export class TieredStore implements KvStore {
  /** Sizes of the model and most tokens per sequence. */
  readonly shape: CacheShape;
  /** Pools to bind. */
  readonly layers: readonly LayerCache[];
  /** Every step's selections pass through `apply`. */
  readonly needsPlan = true;
  readonly #device: Device;
  readonly #options: TieredStoreOptions;
  readonly #parts: TieredParts;
  readonly #tables: readonly SlotTable[];
  #isApplied = false;

  private constructor(device: Device, options: TieredStoreOptions, parts: TieredParts) {
    this.shape = options.fullCache.shape;
    this.layers = parts.layers;
    this.#device = device;
    this.#options = options;
    this.#parts = parts;
    const { isPermanent } = options;
    const { capacity } = this.shape;
    this.#tables = perHead(
      this.shape,
      ({ layer }, label) =>
        new SlotTable({ label, pool: parts.pools[layer]!, capacity, isPermanent }),
    );
  }

  /**
   * Moves a prefilled cache to the host and makes the pools, layer by layer, so that the device never holds more than
   * the full cache and one layer.
   *
   * @param device Where the cache lives.
   * @param options Cache, lengths, pools.
   * @returns The store; the full cache is freed.
   * @throws {RequirementError} If the pools are larger than the cache, or each query head would have its own selection.
   * @throws {GpuError} If the device has too little memory for the upload buffer; the full cache is then unchanged.
   */
  static async create(device: Device, options: TieredStoreOptions): Promise<TieredStore> {
    return new TieredStore(device, options, await createParts(device, options));
  }

  /** Tokens of each sequence on the host; the newest one of a running step is not counted. */
  get lengths(): readonly number[] {
    return this.#parts.host.lengths;
  }

  /** Bytes of the pools: 2 * headDim * (2 * full + valueOnly), over layers, KV heads and sequences. */
  get byteLength(): number {
    return this.layers.reduce(
      (sum, { keys, values }) => sum + keys.byteLength + values.byteLength,
      0,
    );
  }

  /** Bytes of the complete copy. */
  get hostBytes(): number {
    return this.#parts.host.byteLength;
  }

  /** How a layer's pools are divided. */
  slots(layer: number): LayerSlots {
    const { full } = this.#parts.pools[layer]!;
    return { fullSlots: full, writeSlot: 0 };
  }

  /** Loads the planned tokens that the device lacks; see {@linkcode KvStore.apply}. */
  apply(selections: readonly Selection[]): StepRows {
    const heads = selectionsPerHead(this.shape, selections);
    heads.forEach((selection, index) => this.#check(selection, index));
    const applied = applyLayers(this.shape, heads, (layer, chosen) => this.#apply(layer, chosen));
    this.#parts.uploader.flush();
    this.#finish();
    return applied;
  }

  /** Does so for one layer; see {@linkcode KvStore.applyLayer}. */
  applyLayer(layer: number, selections: readonly Selection[]): LayerRows {
    selections.forEach((selection, place) =>
      this.#check(selection, headIndex(this.shape, headOfLayer(this.shape, layer, place)))
    );
    const applied = this.#apply(layer, selections);
    this.#parts.uploader.flush();
    if (layer === this.shape.layers - 1) this.#finish();
    return applied;
  }

  /** Changes the slots of a layer and collects what has to be loaded. */
  #apply(layer: number, selections: readonly Selection[]): LayerRows {
    const loads: LayerLoads = { keys: [], values: [] };
    const counts = noCounts();
    const rows = selections.map((selection, index) => {
      const place = headOfLayer(this.shape, layer, index);
      const change = this.#tables[headIndex(this.shape, place)]!.apply(selection);
      addCounts(counts, change.counts);
      return this.#rows(place, change, loads);
    });
    this.#parts.uploader.add(layer, loads);
    return { rows, counts };
  }

  /** Ends a plan. */
  #finish(): void {
    this.#isApplied = true;
    if (this.#options.isPermanent && this.#parts.pools.every(({ valueOnly }) => valueOnly === 0)) {
      this.#parts.host.forget();
    }
  }

  /** Copies the landing slots to the host; call it once after each step's submission. */
  async takeNewest(): Promise<Uint32Array> {
    if (!this.#isApplied) {
      throw new RequirementError({
        action: "store the newest token",
        requirement: "a plan must have been applied for it",
        state: "plan is that of the step before",
      });
    }
    this.#isApplied = false;
    this.#device.submit(this.#parts.collect);
    const newest = new Uint32Array(await this.#device.read(this.#parts.landing));
    this.#parts.host.append(newest);
    return newest;
  }

  /**
   * Returns the complete cache, as a further prefill needs it, and frees the pools.
   *
   * The cache is allocated first, so that the device briefly holds it in addition to the pools, the landing buffer and the
   * upload buffer.
   *
   * @returns A cache with every token of the host.
   * @throws {RequirementError} If the policy has dropped tokens for good; the store then stays as it is.
   * @throws {GpuError} If the device has too little memory for both; the store then stays as it is.
   */
  async restore(): Promise<FullCache> {
    const first = this.#parts.host.layer(0);
    const cache = await this.#allocate();
    this[Symbol.dispose]();
    for (const [layer, { keys, values }] of cache.layers.entries()) {
      const words = layer === 0 ? first : this.#parts.host.layer(layer);
      this.#device.write(keys, 0, words.keys);
      this.#device.write(values, 0, words.values);
    }
    return cache;
  }

  /** Frees pools, buffers and recordings. */
  [Symbol.dispose](): void {
    this.#parts.owned.dispose();
  }

  /** Allocates an empty cache in addition to the pools. */
  async #allocate(): Promise<FullCache> {
    using stack = new DisposableStack();
    try {
      const cache = stack.use(createFullCache(this.#device, this.shape));
      await this.#device.finished(); // some devices report only now that memory ran out
      stack.move();
      return cache;
    } catch (cause) {
      if (!(cause instanceof GpuError)) throw cause;
      const bytes = fullCacheBytes(this.shape);
      throw new GpuError(
        `Cannot restore the full cache: the device must have ${bytes} bytes free in addition to the pools, which a smaller capacity, a smaller budget or fewer sequences lower: current error is: ${cause.message}`,
        { cause },
      );
    }
  }

  #check(selection: Selection, index: number): void {
    const { layers, kvHeads } = this.shape;
    const layer = Math.floor(index / kvHeads) % layers;
    const newest = this.lengths[Math.floor(index / kvHeads / layers)]!;
    this.#tables[index]!.check(selection, this.#options.limit?.(layer, newest + 1));
    if (selection.full.at(-1) === newest) return;
    throw new RequirementError({
      action: "apply a plan",
      requirement: `the last kept token of layer ${layer}, KV head ${index % kvHeads} ` +
        `must be the newest one, ${newest}`,
      current: selection.full.at(-1),
    });
  }

  /** Converts slots to rows and adds the loads that they need. */
  #rows(place: HeadPlace, change: SlotChange, loads: LayerLoads): SelectionRows {
    const collect = (kind: keyof LayerLoads, pairs: readonly number[]) => {
      for (let index = 0; index < pairs.length; index += 2) {
        const source = this.#parts.host.row(kind, place, pairs[index]!);
        loads[kind].push({ row: this.#row(place, pairs[index + 1]!), source });
      }
    };
    collect("keys", change.keyLoads);
    collect("values", change.valueLoads);
    const toRow = (slot: number) => this.#row(place, slot);
    return { full: change.fullSlots.map(toRow), valueOnly: change.valueOnlySlots.map(toRow) };
  }

  #row({ sequence, layer, kvHead }: HeadPlace, slot: number): number {
    const { sequences, kvHeads } = this.shape;
    const { full, valueOnly } = this.#parts.pools[layer]!;
    const head = sequence * kvHeads + kvHead;
    if (slot < full) return head * full + slot;
    return sequences * kvHeads * full + head * valueOnly + slot - full;
  }
}
