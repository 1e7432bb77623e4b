/**
 * Places where a forward pass can be observed or masked.
 *
 * @module
 */

import type { BufferWindow, Device, DeviceBuffer } from "../../gpu/device.ts";
import type { ModelConfig } from "../config.ts";

/** One array per layer in a single buffer, so that all of them are read or written at once. */
export interface LayerArrays {
  /** Holds all layers. */
  readonly buffer: DeviceBuffer;
  /** Part of each layer. */
  readonly windows: readonly BufferWindow[];
  /** Words from one layer to the next. */
  readonly layerWords: number;
}

/** What an observer of attention reads, and the masks it sets. */
export interface AttentionTaps extends Disposable {
  /** Attention each token has received, f32 [sequences, queryHeads, capacity] per layer; absent if not requested. */
  readonly sums?: LayerArrays;
  /** Bit sets of the key positions each query head may see, u32 [queryHeads, visibleWords] per layer; absent if unmasked. */
  readonly visible?: LayerArrays;
  /** Words of one head's bit set. */
  readonly visibleWords: number;
}

/** Which taps to allocate, and for how many tokens. */
export interface TapShape {
  /** Tokens that fit per sequence. */
  readonly capacity: number;
  /** Sequences held side by side. */
  readonly sequences: number;
  /** Whether received attention is summed. */
  readonly accumulate: boolean;
  /** Whether attention is masked. */
  readonly masked: boolean;
}

/**
 * Allocates the buffers of the taps; O(capacity) per head.
 *
 * @returns Buffers of zeros.
 */
export function createTaps(device: Device, config: ModelConfig, shape: TapShape): AttentionTaps {
  using stack = new DisposableStack();
  const visibleWords = Math.ceil(shape.capacity / 32);
  const arrays = (label: string, words: number): LayerArrays => {
    const layerWords = 64 * Math.ceil(words / 64); // windows start at multiples of 256 bytes
    const buffer = stack.use(device.createBuffer(label, 4 * layerWords * config.layers));
    const windows = Array.from(
      { length: config.layers },
      (_, layer) => ({ buffer, byteOffset: 4 * layerWords * layer, byteLength: 4 * words }),
    );
    return { buffer, windows, layerWords };
  };
  const sumWords = shape.sequences * config.queryHeads * shape.capacity;
  const taps = {
    ...(shape.accumulate && { sums: arrays("accumulated attention", sumWords) }),
    ...(shape.masked && { visible: arrays("visible tokens", config.queryHeads * visibleWords) }),
    visibleWords,
  };
  const owned = stack.move();
  return { ...taps, [Symbol.dispose]: () => owned.dispose() };
}
