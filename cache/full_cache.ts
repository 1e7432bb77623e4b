/**
 * The complete KV cache of a model on the device: every token, keys and values.
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";
import type { Device, DeviceBuffer } from "../gpu/device.ts";
import type { WritePlace } from "../kernels/rope_cache.ts";
import type { KvFormat } from "../kernels/attention_shape.ts";

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
}

/** Keys and values of one layer, [sequences, kvHeads, capacity, headDim]; halves are packed in pairs. */
export interface LayerCache {
  /** Keys, after RoPE. */
  readonly keys: DeviceBuffer;
  /** Values. */
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
 * Bytes of a complete cache: layers * kvHeads * headDim * capacity * sequences, times 2 or 4 each for keys and values.
 *
 * @param shape Sizes of the cache.
 * @returns Bytes, keys and values together.
 */
export function fullCacheBytes(shape: CacheShape): number {
  return shape.layers * layerElements(shape) *
    (formatBytes(shape.keyFormat) + formatBytes(shape.valueFormat));
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
  const elements = layerElements(shape);
  const keyBytes = elements * formatBytes(shape.keyFormat);
  const valueBytes = elements * formatBytes(shape.valueFormat);
  checkInteger("create a KV cache", "bytes of one layer's keys or values", {
    value: Math.max(keyBytes, valueBytes),
    min: 4,
    max: device.info.maxBindingBytes,
  });
  using stack = new DisposableStack();
  const layers = Array.from({ length: shape.layers }, (_, layer) => ({
    keys: stack.use(device.createBuffer(`keys of layer ${layer}`, keyBytes)),
    values: stack.use(device.createBuffer(`values of layer ${layer}`, valueBytes)),
  }));
  stack.move(); // `releaseLayer` frees them from now on
  const held = new Set(layers.keys());
  const releaseLayer = (layer: number) => {
    held.delete(layer);
    layers[layer]?.keys[Symbol.dispose]();
    layers[layer]?.values[Symbol.dispose]();
  };
  return {
    shape,
    layers,
    get byteLength() {
      return held.size * fullCacheBytes({ ...shape, layers: 1 });
    },
    releaseLayer,
    [Symbol.dispose]() {
      for (const layer of layers.keys()) releaseLayer(layer);
    },
  };
}

function layerElements(shape: CacheShape): number {
  return shape.kvHeads * shape.headDim * shape.capacity * shape.sequences;
}

/**
 * Bytes of an element.
 *
 * @param format How keys or values are stored; in 16 bits if left out.
 */
export function formatBytes(format: KvFormat | undefined): number {
  return format === "f32" ? 4 : 2;
}
