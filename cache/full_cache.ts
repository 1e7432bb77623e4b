/**
 * The complete KV cache of a model on the device: every token, keys and values.
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";
import type { Device, DeviceBuffer } from "../gpu/device.ts";

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
}

/** Keys (after RoPE) and values of one layer, halves packed in pairs, [sequences, kvHeads, capacity, headDim / 2]. */
export interface LayerCache {
  /** Keys. */
  readonly keys: DeviceBuffer;
  /** Values. */
  readonly values: DeviceBuffer;
}

/** Device buffers of a complete cache. */
export interface FullCache extends Disposable {
  /** Its sizes. */
  readonly shape: CacheShape;
  /** One entry per layer. */
  readonly layers: readonly LayerCache[];
  /** Bytes of all its buffers. */
  readonly byteLength: number;
}

/**
 * Bytes of a complete cache in 16-bit storage: 2 * layers * kvHeads * headDim * capacity * sequences * 2.
 *
 * @param shape Sizes of the cache.
 * @returns Bytes, keys and values together.
 */
export function fullCacheBytes(shape: CacheShape): number {
  return 4 * shape.layers * shape.kvHeads * shape.headDim * shape.capacity * shape.sequences;
}

/**
 * Allocates an empty cache.
 *
 * @param device Where it lives.
 * @param shape Its sizes; one layer's keys must fit one binding.
 * @returns Buffers of zeros.
 * @throws {RangeError} If a layer does not fit one binding of the device.
 */
export function createFullCache(device: Device, shape: CacheShape): FullCache {
  const layerBytes = fullCacheBytes({ ...shape, layers: 1 }) / 2;
  checkInteger("create a KV cache", "bytes of one layer's keys", {
    value: layerBytes,
    min: 4,
    max: device.info.maxBindingBytes,
  });
  const layers = Array.from({ length: shape.layers }, (_, layer) => ({
    keys: device.createBuffer(`keys of layer ${layer}`, layerBytes),
    values: device.createBuffer(`values of layer ${layer}`, layerBytes),
  }));
  return {
    shape,
    layers,
    byteLength: 2 * layerBytes * shape.layers,
    [Symbol.dispose]() {
      for (const { keys, values } of layers) {
        keys[Symbol.dispose]();
        values[Symbol.dispose]();
      }
    },
  };
}
