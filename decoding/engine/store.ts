/**
 * The store of a policy's kept tokens, and the lists that attention reads.
 *
 * @module
 */

import type { FullCache } from "../../cache/full_cache.ts";
import { type KvStore, type Migration, migrationOf, type StoreKind } from "../../cache/kv_store.ts";
import type { Selection } from "../../cache/policy.ts";
import { ResidentStore } from "../../cache/resident_store.ts";
import { addCounts, noCounts, type PoolSize, type SlotCounts } from "../../cache/slot_change.ts";
import { poolSizes, tierLimit } from "../../cache/tiered_pools.ts";
import { TieredStore } from "../../cache/tiered_store.ts";
import { RequirementError } from "../../core/check.ts";
import { unpackFloat16 } from "../../core/float16.ts";
import { NO_TAPS } from "../session/commands.ts";
import { readVectors } from "../session/vectors.ts";
import type { ForwardState } from "../../models/forward/forward.ts";
import { addKeyCenters } from "../../models/weights/key_centers.ts";
import type { PolicyBuffers, PolicyShape } from "../selection/buffers.ts";
import type { SequenceSettings } from "../selection/sequence_settings.ts";
import { type ListSource, packLists, perGroup, residentRows } from "../selection/lists.ts";
import { restSource } from "../selection/rest.ts";

/** What a store is made from. */
interface PolicyStoreOptions {
  /** Large model after the prompts, with its complete cache. */
  readonly forward: ForwardState;
  /** Tokens of each sequence. */
  readonly lengths: readonly number[];
  /** Which store. */
  readonly kind: StoreKind;
  /** The sequences; in a tiered store all have the same setting. */
  readonly batch: SequenceSettings;
  /** Sizes of the policy's buffers. */
  readonly shape: PolicyShape;
  /** Buffers of the policy. */
  readonly buffers: PolicyBuffers;
}

/** Kept tokens of all sequences, and the large model's buffers to run them with. */
export class PolicyStore implements Disposable {
  /** Large model on this store's keys and values. */
  readonly forward: ForwardState;
  readonly #store: KvStore;
  readonly #options: PolicyStoreOptions;
  /** Lists of one sequence before they are written to the device. */
  readonly #lists: Uint32Array<ArrayBuffer>;

  private constructor(store: KvStore, options: PolicyStoreOptions) {
    this.#store = store;
    this.#options = options;
    const { forward, shape } = options;
    this.#lists = new Uint32Array(shape.groups.total * shape.listWords);
    const layers = store.layers.map((buffers, layer) => {
      const { fullSlots, writeSlot } = store.slots(layer);
      return writeSlot === undefined
        ? buffers
        : { ...buffers, write: { capacity: fullSlots, slot: writeSlot } };
    });
    this.forward = {
      ...forward,
      cache: { ...forward.cache, layers },
      taps: NO_TAPS,
    };
  }

  /** Makes a store of a complete cache; a tiered one frees the cache. */
  static async create(options: PolicyStoreOptions): Promise<PolicyStore> {
    const { forward: { cache, device }, kind, batch: { settings } } = options;
    const isPermanent = (setting: number) => settings[setting]!.policy.candidates === "kept";
    if (kind === "resident") {
      return new PolicyStore(new ResidentStore(cache, isPermanent), options);
    }
    const { policy, budget } = settings[0]!;
    const requests = poolRequests(options).map((request) => ({ ...request, budget }));
    const pools = requests.map((request) => poolSizes(policy, request));
    const store = await TieredStore.create(device, {
      fullCache: cache,
      lengths: options.lengths,
      pools: (layer) => largest(pools.map((layers) => layers[layer]!)),
      isPermanent: isPermanent(0),
      limit: (layer, tokens) =>
        largest(requests.map((request) => tierLimit(policy, request, { layer, tokens }))),
    });
    return new PolicyStore(store, options);
  }

  /** Whether the device holds only what a plan keeps, so that each step's plan must pass through the host. */
  get needsPlan(): boolean {
    return this.#store.needsPlan;
  }

  /** Bytes of keys and values on the device. */
  get deviceBytes(): number {
    return this.#store.byteLength;
  }

  /** Bytes of keys and values on the host. */
  get hostBytes(): number {
    return this.#store.hostBytes;
  }

  /**
   * Makes the device hold what the next step needs, and writes its lists.
   *
   * @param selections Tokens of each head group, [sequence][group].
   * @param matches Flat small head of each flat large head, per sequence; zeros without a small model.
   * @returns What was moved; nothing if each query head selects alone, which is a simulation.
   */
  apply(
    selections: readonly (readonly Selection[])[],
    matches: readonly Uint32Array[],
  ): Migration | undefined {
    if (this.#options.batch.granularity === "query_head") {
      this.list(selections, matches);
      return undefined;
    }
    const listed = this.#listed(selections);
    const { rows, migration } = this.#store.apply(listed.flat());
    listed.forEach((chosen, sequence) => {
      const first = sequence * chosen.length;
      this.#write(sequence, {
        selections: chosen,
        rows: rows.slice(first, first + chosen.length),
        match: matches[sequence]!,
      });
    });
    return migration;
  }

  /**
   * Writes the lists of a step alone, in a store that holds every token; see `account`.
   *
   * @param selections Tokens of each head group, [sequence][group].
   * @param matches As `apply` takes them.
   */
  list(
    selections: readonly (readonly Selection[])[],
    matches: readonly Uint32Array[],
  ): void {
    const { shape, forward: { cache } } = this.#options;
    this.#listed(selections).forEach((listed, sequence) => {
      const rows = residentRows(shape, listed, { cache: cache.shape, sequence });
      this.#write(sequence, { selections: listed, rows, match: matches[sequence]! });
    });
  }

  /**
   * Does so for one layer of a step whose layers choose their tokens (D-33); the layers follow each other.
   *
   * @param layer The layer.
   * @param selections Tokens of each head group of all layers, [sequence][group].
   * @param matches As `apply` takes them.
   * @returns What was moved; nothing if each query head selects alone.
   */
  applyLayer(
    layer: number,
    selections: readonly (readonly Selection[])[],
    matches: readonly Uint32Array[],
  ): SlotCounts | undefined {
    const { batch, shape, forward: { cache } } = this.#options;
    const { perLayer } = shape.groups;
    const first = layer * perLayer;
    const listed = this.#listed(selections).map((all) => all.slice(first, first + perLayer));
    const isAlone = batch.granularity === "query_head";
    const applied = isAlone ? undefined : this.#store.applyLayer(layer, listed.flat());
    listed.forEach((chosen, sequence) => {
      const rows = applied?.rows.slice(sequence * perLayer, (sequence + 1) * perLayer) ??
        residentRows(shape, chosen, { cache: cache.shape, sequence, firstLayer: layer });
      const heads = perLayer * shape.groups.heads;
      const match = matches[sequence]!.subarray(layer * heads, (layer + 1) * heads);
      this.#write(sequence, { selections: chosen, rows, match }, first);
    });
    return applied?.counts;
  }

  /**
   * Adds up what the layers of a step moved.
   *
   * @param counts Returned by `applyLayer`.
   */
  migration(counts: readonly SlotCounts[]): Migration {
    const sum = noCounts();
    for (const one of counts) addCounts(sum, one);
    return migrationOf(sum, 2 * this.#store.shape.headDim);
  }

  /**
   * Accounts for tokens that have been listed without `apply`, by the device or by `list`.
   *
   * @param selections Tokens of each head group, [sequence][group].
   * @returns What a store that holds only them would have moved; nothing if each query head selects alone.
   */
  account(selections: readonly (readonly Selection[])[]): Migration | undefined {
    if (this.#options.batch.granularity === "query_head") return undefined;
    return this.#store.apply(this.#listed(selections).flat()).migration;
  }

  /**
   * Stores the newest token's key and value once the step has been submitted.
   *
   * @param lengths Tokens of each sequence, the newest one included.
   * @param wanted Whether the newest key and value of each sequence are read.
   * @returns Vectors of those sequences, [layers, keys and values, kvHeads, 1, headDim].
   */
  async takeNewest(
    lengths: readonly number[] = [],
    wanted: readonly boolean[] = [],
  ): Promise<(Float32Array | undefined)[]> {
    const landed = this.#store.needsPlan ? await this.#store.takeNewest() : undefined;
    return await Promise.all(lengths.map(async (length, sequence) => {
      if (!wanted[sequence]) return undefined;
      if (landed) return this.#vectorsOf(sequence, landed);
      return await readVectors(this.forward, { sequence, from: length - 1, to: length });
    }));
  }

  /** One sequence's part of the landing slots. */
  #vectorsOf(sequence: number, landed: Uint32Array): Float32Array {
    const { layers, sequences, kvHeads, headDim } = this.#store.shape;
    const words = kvHeads * headDim / 2;
    const halves = new Uint32Array(2 * layers * words);
    for (let part = 0; part < 2 * layers; part++) {
      const first = (part * sequences + sequence) * words;
      halves.set(landed.subarray(first, first + words), part * words);
    }
    const vectors = unpackFloat16(halves);
    addKeyCenters(this.forward, vectors);
    return vectors;
  }

  /**
   * Forgets what was kept of a sequence, which holds another text from now on.
   *
   * @throws {RequirementError} If the store is tiered: its pools are sized for the prompts that it was made with.
   */
  forget(sequence: number): void {
    if (this.#store instanceof ResidentStore) return this.#store.forget(sequence);
    const requirement = "the store must be resident, which has room for any text";
    throw new RequirementError({ action: "replace a sequence", requirement, current: "tiered" });
  }

  /**
   * Returns the complete cache; the store must not be used afterwards.
   *
   * @throws {RequirementError} If tokens have been dropped for good; the store then stays as it is.
   * @throws {GpuError} If the device has too little memory for it; the store then stays as it is.
   */
  async restore(): Promise<FullCache> {
    return await this.#store.restore();
  }

  /** Frees the store. */
  [Symbol.dispose](): void {
    this.#store[Symbol.dispose]();
  }

  /** Gives each KV head the selection of its head group. */
  #listed(selections: readonly (readonly Selection[])[]): (readonly Selection[])[] {
    const { total } = this.#options.shape.groups;
    return selections.map((chosen) => chosen.length === total ? chosen : perGroup(chosen, total));
  }

  /** Writes the lists of a sequence from a group on. */
  #write(sequence: number, source: Omit<ListSource, "combine">, firstGroup = 0): void {
    const { shape, buffers, batch: { settings }, forward: { device } } = this.#options;
    const { policy } = settings[sequence]!;
    const isRestWeighed = restSource(policy) === "row";
    const lists = this.#lists.subarray(0, source.selections.length * shape.listWords);
    packLists(lists, shape, { ...source, combine: policy.combine, isRestWeighed });
    const first = 4 * firstGroup * shape.listWords;
    device.write(buffers.lists, this.#lists.byteLength * sequence + first, lists);
  }
}

/** What slots depend on, for the shortest and the longest prompt, since a budget may be a share of either. */
function poolRequests({ lengths, shape, forward }: PolicyStoreOptions) {
  return [...new Set([Math.min(...lengths), Math.max(...lengths)])].map((promptTokens) => ({
    promptTokens,
    capacity: shape.capacity,
    layers: forward.config.layers,
    headDim: forward.config.headDim,
  }));
}

function largest(sizes: readonly PoolSize[]): PoolSize {
  return {
    full: Math.max(...sizes.map(({ full }) => full)),
    valueOnly: Math.max(...sizes.map(({ valueOnly }) => valueOnly)),
  };
}
