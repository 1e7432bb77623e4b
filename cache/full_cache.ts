/**
 * The complete KV cache of a model on the device: every token, keys and values.
 *
 * @module
 */

import { checkInteger, RequirementError } from "../core/check.ts";
import type { Device, DeviceBuffer } from "../gpu/device.ts";
import type { WritePlace } from "../kernels/rope_cache.ts";
import { type KvFormat, RING_TILE } from "../kernels/attention_shape.ts";
import { vectorBytes } from "../kernels/quantized_rows.ts";

/** Rows of the largest block of drafts. */
const LEAST_ROWS = 16;

/**
 * Bits that a session may cache a number in: halves, or codes that share scales. Of `"8/4"`, keys have 8 and values 4.
 */
export type CacheBits = 16 | 8 | "8/4" | 4;

/** How the keys of a cache are stored, and how its values are. */
export type CacheFormats = Readonly<Record<"keyFormat" | "valueFormat", KvFormat>>;

const FORMATS: Readonly<Record<CacheBits, CacheFormats>> = {
  16: { keyFormat: "f16", valueFormat: "f16" },
  8: { keyFormat: "u8", valueFormat: "u8" },
  "8/4": { keyFormat: "u8", valueFormat: "u4" },
  4: { keyFormat: "u4", valueFormat: "u4" },
};

/**
 * Names the formats of a cache.
 *
 * @param bits Bits of a number; 16 if left out.
 * @throws {RequirementError} If there are no such formats.
 */
export function cacheFormats(bits: CacheBits = 16): CacheFormats {
  const formats: CacheFormats | undefined = FORMATS[bits];
  if (formats) return formats;
  const requirement = "bits of a number must be 16, 8, 8/4 or 4";
  throw new RequirementError({ action: "create a KV cache", requirement, current: bits });
}

/** Sizes of a cache. */
export interface CacheShape {
  /** Layers of the model. */
  readonly layers: number;
  /** KV heads per layer. */
  readonly kvHeads: number;
  /** Elements per head. */
  readonly headDim: number;
  /** Tokens that fit per sequence. */
  readonly capacity: number;
  /** Sequences held side by side. */
  readonly sequences: number;
  /** How keys are stored; `f16` if left out. */
  readonly keyFormat?: KvFormat;
  /** How values are stored; `f16` if left out. */
  readonly valueFormat?: KvFormat;
  /**
   * Slots of a KV head in each layer that holds only the newest tokens, each at its position modulo the slots; undefined in
   * layers with a slot for every position, as all are if left out.
   */
  readonly rings?: readonly (number | undefined)[];
  /** Whether the last layer holds keys alone, as where only its attention is read; false if left out. */
  readonly isLastKeysOnly?: boolean;
}

/**
 * Keys and values of one layer, [sequences, kvHeads, slots, headDim]; halves are packed in pairs, and `quantized_rows.ts`
 * says how numbers of fewer bits are.
 */
export interface LayerCache {
  /** Keys, after RoPE. */
  readonly keys: DeviceBuffer;
  /** Values; the keys where these are held alone, so that attention has something to bind whose output nobody reads. */
  readonly values: DeviceBuffer;
  /** Slot that the newest token is written to; its position if left out. */
  readonly write?: WritePlace;
}

/** Device buffers of a complete cache. */
export interface FullCache extends Disposable {
  /** Its sizes. */
  readonly shape: CacheShape;
  /** One entry per layer. */
  readonly layers: readonly LayerCache[];
  /** Bytes of the buffers that have not been released. */
  readonly byteLength: number;
  /** Frees the buffers of one layer, which must not be used afterwards. */
  releaseLayer(layer: number): void;
}

/**
 * Slots of a KV head in a layer: a token is at its position modulo them.
 *
 * @param shape Sizes of the cache.
 * @param layer The layer.
 * @returns The ring, or the capacity.
 */
export function layerSlots(
  { rings, capacity }: Pick<CacheShape, "rings" | "capacity">,
  layer: number,
): number {
  return rings?.[layer] ?? capacity;
}

/**
 * Slots that a layer with a window needs: the window and the rows of a step, whose first one still sees a whole window
 * after all of them have been written, rounded up to what kernels load at once.
 *
 * @param window Newest tokens that a row sees, its own included.
 * @param rows Most new tokens of a step; counted as at least 16, the rows of a block of drafts.
 * @returns A multiple of `RING_TILE`.
 */
export function ringSlots(window: number, rows: number): number {
  return RING_TILE * Math.ceil((window + Math.max(rows, LEAST_ROWS)) / RING_TILE);
}

/**
 * Chooses the layers that hold only the newest tokens: those with a window whose ring is smaller than the capacity.
 *
 * @param windows Windows of the layers.
 * @param sizes Tokens that fit per sequence, and most new tokens of a step; 128 if left out, as in sessions.
 * @returns Slots of each layer's KV heads; undefined if none of them has a ring.
 */
export function ringsOf(
  windows: readonly (number | undefined)[],
  { capacity, rows = 128 }: { readonly capacity: number; readonly rows?: number },
): CacheShape["rings"] {
  const rings = windows.map((window) => {
    if (window === undefined) return undefined;
    const slots = ringSlots(window, rows);
    return slots < capacity ? slots : undefined;
  });
  return rings.some((ring) => ring !== undefined) ? rings : undefined;
}

/**
 * Bytes of a key and of a value of one KV head.
 *
 * @param shape Elements of a head, and formats; `f16` if left out.
 */
export function headBytes(
  { headDim, keyFormat, valueFormat }: Pick<CacheShape, "headDim" | keyof CacheFormats>,
): Readonly<Record<"keys" | "values", number>> {
  return { keys: vectorBytes(keyFormat, headDim), values: vectorBytes(valueFormat, headDim) };
}

/**
 * Bytes of a complete cache: kvHeads * slots * sequences, summed over layers, times `vectorBytes` each for keys and values.
 * Slots are the capacity, or the ring of a layer that holds only the newest tokens.
 *
 * @param shape Sizes of the cache.
 * @returns Bytes, keys and values together.
 */
export function fullCacheBytes(shape: CacheShape): number {
  return Array.from({ length: shape.layers }, (_, layer) => layerBytes(shape, layer))
    .reduce((sum, bytes) => sum + bytes, 0);
}

/** Bytes of a layer's keys and values. */
export function layerBytes(shape: CacheShape, layer: number): number {
  const { keys, values } = headBytes(shape);
  return layerVectors(shape, layer) * (keys + (hasValues(shape, layer) ? values : 0));
}

/**
 * Allocates an empty cache.
 *
 * @param device Where it lives.
 * @param shape Its sizes; one layer's keys must fit one binding.
 * @returns Buffers of zeros.
 * @throws {RequirementError} If a layer does not fit one binding of the device.
 */
export function createFullCache(device: Device, shape: CacheShape): FullCache {
  const vectors = Array.from({ length: shape.layers }, (_, layer) => layerVectors(shape, layer));
  const bytes = headBytes(shape);
  checkInteger("create a KV cache", "bytes of one layer's keys or values", {
    value: Math.max(...vectors) * Math.max(bytes.keys, bytes.values),
    min: 4,
    max: device.info.maxBindingBytes,
  });
  using stack = new DisposableStack();
  const layers = vectors.map((count, layer) => {
    const keys = stack.use(device.createBuffer(`keys of layer ${layer}`, count * bytes.keys));
    if (!hasValues(shape, layer)) return { keys, values: keys };
    return {
      keys,
      values: stack.use(device.createBuffer(`values of layer ${layer}`, count * bytes.values)),
    };
  });
  stack.move(); // `releaseLayer` frees them from now on
  const held = new Set(layers.keys());
  const releaseLayer = (layer: number) => {
    held.delete(layer);
    const { keys, values } = layers[layer] ?? {};
    keys?.[Symbol.dispose]();
    if (values !== keys) values?.[Symbol.dispose]();
  };
  return {
    shape,
    layers,
    get byteLength() {
      return [...held].reduce((sum, layer) => sum + layerBytes(shape, layer), 0);
    },
    releaseLayer,
    [Symbol.dispose]() {
      for (const layer of layers.keys()) releaseLayer(layer);
    },
  };
}

function hasValues({ layers, isLastKeysOnly = false }: CacheShape, layer: number): boolean {
  return !isLastKeysOnly || layer < layers - 1;
}

/** Head vectors of a layer's keys, or values. */
function layerVectors(shape: CacheShape, layer: number): number {
  return shape.kvHeads * layerSlots(shape, layer) * shape.sequences;
}
