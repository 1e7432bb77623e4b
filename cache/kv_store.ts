/**
 * The interface of stores of keys and values under a policy.
 *
 * @module
 */

import { RequirementError } from "../core/check.ts";
import type { CacheShape, FullCache, LayerCache } from "./full_cache.ts";
import type { Selection } from "./policy.ts";
import { addCounts, noCounts, type SlotCounts } from "./slot_change.ts";

/** Where tokens are kept: all on the device, or planned ones there and all on the host. */
export type StoreKind = "resident" | "tiered";

/** A KV head of a store. */
export interface HeadPlace {
  /** Sequence, from 0. */
  readonly sequence: number;
  /** Layer, from 0. */
  readonly layer: number;
  /** KV head of the layer, from 0. */
  readonly kvHead: number;
}

/** Rows of the tokens of a selection; a row is one head vector. */
export interface SelectionRows {
  /** Row of each full token in `keys` and in `values`, in list order. */
  readonly full: Uint32Array;
  /** Row of each value-only token in `values`, in list order. */
  readonly valueOnly: Uint32Array;
}

/** How a layer's buffers are divided. */
export interface LayerSlots {
  /** Rows of a KV head in `keys`; head h of sequence s starts at row (s * kvHeads + h) * fullSlots. */
  readonly fullSlots: number;
  /** Slot of the newest token; absent where slots are positions. */
  readonly writeSlot?: number;
}

/** What applying one plan to all KV heads changed; the newest token is not a load. */
export interface Migration {
  /** Tokens of the plan, over all KV heads. */
  readonly planned: number;
  /** Tokens of the plan that were not in the one before, the newest one included. */
  readonly entered: number;
  /** Share of the plan's tokens that were not in the one before. */
  readonly churn: number;
  /** Tokens that had a key or value before and now have neither. */
  readonly freed: number;
  /** Tokens that had only their value and gained their key. */
  readonly promoted: number;
  /** Tokens that kept their value and gave up their key. */
  readonly demoted: number;
  /** Tokens whose key or value was loaded from the host because the device did not have it. */
  readonly loadedTokens: number;
  /** Bytes of keys loaded because the device did not have them. */
  readonly keyBytes: number;
  /** Bytes of values loaded because the device did not have them. */
  readonly valueBytes: number;
  /** Bytes of values that moved from one pool to the other. */
  readonly poolMoveBytes: number;
  /** Bytes of keys and values that moved out of the landing slot. */
  readonly landingBytes: number;
}

/** Outcome of a plan. */
export interface StepRows {
  /** Rows of each selection, [sequences, layers, kvHeads]. */
  readonly rows: readonly SelectionRows[];
  /** What was moved. */
  readonly migration: Migration;
}

/** Outcome of the plan of one layer. */
export interface LayerRows {
  /** Rows of each selection, [sequences, kvHeads]. */
  readonly rows: readonly SelectionRows[];
  /** What was moved. */
  readonly counts: SlotCounts;
}

/** Keys and values of a model under a policy. */
export interface KvStore extends Disposable {
  /** Sizes of the model and most tokens per sequence. */
  readonly shape: CacheShape;
  /** Buffers to bind, one entry per layer. */
  readonly layers: readonly LayerCache[];
  /** Bytes of keys and values on the device. */
  readonly byteLength: number;
  /** Bytes of keys and values on the host. */
  readonly hostBytes: number;
  /** Whether every step's selections must pass through `apply` before the step's attention. */
  readonly needsPlan: boolean;
  /** How a layer's buffers are divided. */
  slots(layer: number): LayerSlots;
  /**
   * Makes the device hold what a step needs.
   *
   * @param selections What each KV head keeps, [sequences, layers, kvHeads], or one for all heads of a layer,
   *   [sequences, layers]; the newest token is the last full one.
   * @throws {RequirementError} If a plan exceeds the pools or needs what was dropped for good; nothing has changed then.
   */
  apply(selections: readonly Selection[]): StepRows;
  /**
   * Does so for one layer, where each layer chooses its tokens; the layers of a step follow each other.
   *
   * @param layer The layer.
   * @param selections What each KV head keeps, [sequences, kvHeads].
   * @throws {RequirementError} As `apply`.
   */
  applyLayer(layer: number, selections: readonly Selection[]): LayerRows;
  /**
   * Copies the newest token's key and value to the host once the step has been submitted.
   *
   * @returns Packed halves [layers, keys and values, sequences, kvHeads, headDim / 2]; nothing where they stay in place.
   */
  takeNewest(): Promise<Uint32Array | undefined>;
  /**
   * Returns the complete cache, as a further prefill needs it; the store must not be used afterwards.
   *
   * @returns A cache with every token.
   * @throws {RequirementError} If tokens have been dropped for good; the store then stays as it is.
   * @throws {GpuError} If the device has too little memory for it; the store then stays as it is.
   */
  restore(): Promise<FullCache>;
}

/**
 * Numbers the KV heads of a store.
 *
 * @param shape Sizes of the store.
 * @param place A KV head.
 * @returns Index in [sequences, layers, kvHeads].
 */
export function headIndex(
  shape: Pick<CacheShape, "layers" | "kvHeads">,
  place: HeadPlace,
): number {
  return (place.sequence * shape.layers + place.layer) * shape.kvHeads + place.kvHead;
}

/**
 * Finds a KV head by its number within a layer.
 *
 * @param shape Sizes of the store.
 * @param layer The layer.
 * @param index Its place in [sequences, kvHeads].
 * @returns Its place in the store.
 */
export function headOfLayer(
  { kvHeads }: Pick<CacheShape, "kvHeads">,
  layer: number,
  index: number,
): HeadPlace {
  return { layer, sequence: Math.floor(index / kvHeads), kvHead: index % kvHeads };
}

/**
 * Calls a function for each KV head of a store.
 *
 * @param shape Sizes of the store.
 * @param make Gets the head, and its name in errors, as in "layer 3, KV head 1, sequence 0".
 * @returns Its results, [sequences, layers, kvHeads].
 */
export function perHead<T>(
  { sequences, layers, kvHeads }: CacheShape,
  make: (place: HeadPlace, label: string) => T,
): T[] {
  return Array.from({ length: sequences * layers * kvHeads }, (_, index) => {
    const layer = Math.floor(index / kvHeads) % layers;
    const place = {
      sequence: Math.floor(index / kvHeads / layers),
      layer,
      kvHead: index % kvHeads,
    };
    return make(place, `layer ${layer}, KV head ${place.kvHead}, sequence ${place.sequence}`);
  });
}

/**
 * Gives each KV head its selection.
 *
 * @param shape Sizes of the store.
 * @param selections [sequences, layers, kvHeads] or [sequences, layers].
 * @returns [sequences, layers, kvHeads].
 * @throws {RequirementError} If the number of selections fits neither.
 */
export function selectionsPerHead(
  shape: CacheShape,
  selections: readonly Selection[],
): readonly Selection[] {
  const { sequences, layers, kvHeads } = shape;
  const places = sequences * layers;
  if (selections.length === places * kvHeads) return selections;
  if (selections.length === places) {
    return selections.flatMap((selection) => new Array<Selection>(kvHeads).fill(selection));
  }
  throw new RequirementError({
    action: "apply a plan",
    requirement: `it must have a selection per KV head (${
      places * kvHeads
    }) or per layer (${places})`,
    state:
      `value is ${selections.length}, and one per query head is a simulation for stores that hold every token`,
  });
}

/**
 * Applies a plan layer by layer.
 *
 * @param shape Sizes of the store.
 * @param heads What each KV head keeps, [sequences, layers, kvHeads].
 * @param applyLayer Applies the plan of a layer.
 * @returns Rows of all selections, and what was moved.
 */
export function applyLayers(
  shape: CacheShape,
  heads: readonly Selection[],
  applyLayer: KvStore["applyLayer"],
): StepRows {
  const { sequences, layers, kvHeads } = shape;
  const counts = noCounts();
  const rows = new Array<SelectionRows>(heads.length);
  for (let layer = 0; layer < layers; layer++) {
    const places = Array.from(
      { length: sequences * kvHeads },
      (_, index) => headIndex(shape, headOfLayer(shape, layer, index)),
    );
    const applied = applyLayer(layer, places.map((index) => heads[index]!));
    addCounts(counts, applied.counts);
    places.forEach((index, place) => rows[index] = applied.rows[place]!);
  }
  return { rows, migration: migrationOf(counts, 2 * shape.headDim) };
}

/**
 * Summarizes a plan.
 *
 * @param counts Counts over all KV heads.
 * @param rowBytes Bytes of one head vector.
 * @returns Counts and bytes.
 */
export function migrationOf(counts: SlotCounts, rowBytes: number): Migration {
  const { planned, entered, freed, promoted, demoted, loadedTokens } = counts;
  return {
    planned,
    entered,
    churn: planned === 0 ? 0 : entered / planned,
    freed,
    promoted,
    demoted,
    loadedTokens,
    keyBytes: counts.loadedKeys * rowBytes,
    valueBytes: counts.loadedValues * rowBytes,
    poolMoveBytes: counts.poolMoves * rowBytes,
    landingBytes: counts.landing * rowBytes,
  };
}
