/**
 * Reads cached keys and values from the device.
 *
 * @module
 */

import { formatBytes } from "../../cache/full_cache.ts";
import { unpackFloat16 } from "../../core/float16.ts";
import type { ForwardState } from "../../models/forward/forward.ts";
import { copyCommand } from "./commands.ts";

/** Some tokens of a sequence. */
interface TokenRange {
  /** Which sequence. */
  readonly sequence: number;
  /** Position of the first one. */
  readonly from: number;
  /** Position after the last one. */
  readonly to: number;
}

/** Most bytes that are read at once. */
const MAX_BYTES = 16 * 2 ** 20;

/**
 * Reads rotated keys and values of tokens from a cache that holds every token at its position, both in one format.
 *
 * @param state Model and buffers.
 * @param range Which tokens.
 * @returns Vectors, [layers, keys and values, kvHeads, tokens, headDim].
 * @throws {GpuError} If the device has too little memory for a copy.
 */
export async function readVectors(
  { device, config, cache }: Pick<ForwardState, "device" | "config" | "cache">,
  { sequence, from, to }: TokenRange,
): Promise<Float32Array> {
  const { layers, kvHeads, headDim } = config;
  const rowBytes = headDim * formatBytes(cache.shape.keyFormat);
  const byteLength = rowBytes * (to - from);
  const vectors = new Float32Array(2 * layers * kvHeads * headDim * (to - from));
  if (byteLength === 0) return vectors;
  const atOnce = Math.max(1, Math.floor(MAX_BYTES / (2 * kvHeads * byteLength)));
  for (let first = 0; first < layers; first += atOnce) {
    const part = cache.layers.slice(first, Math.min(layers, first + atOnce));
    using target = device.createBuffer("keys and values", 2 * kvHeads * byteLength * part.length);
    const copies = part.flatMap(({ keys, values }) => [keys, values]).flatMap((source, kind) =>
      Array.from({ length: kvHeads }, (_, kvHead) => {
        const row = (sequence * kvHeads + kvHead) * cache.shape.capacity + from;
        const to = (kind * kvHeads + kvHead) * byteLength;
        return copyCommand(source, target, byteLength, { from: rowBytes * row, to });
      })
    );
    using recording = await device.record("keys and values", copies);
    device.submit(recording);
    const bytes = await device.read(target);
    const elements = cache.shape.keyFormat === "f32"
      ? new Float32Array(bytes)
      : unpackFloat16(new Uint32Array(bytes));
    vectors.set(elements, 2 * first * kvHeads * headDim * (to - from));
  }
  return vectors;
}
