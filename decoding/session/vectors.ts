/**
 * Reads cached keys and values from the device.
 *
 * @module
 */

import { layerSlots } from "../../cache/full_cache.ts";
import { checkInteger } from "../../core/check.ts";
import { unpackStored } from "../../kernels/attention_reference.ts";
import { vectorBytes } from "../../kernels/quantized_rows.ts";
import type { ForwardState } from "../../models/forward/forward.ts";
import { addKeyCenters } from "../../models/weights/key_centers.ts";
import { copyCommand } from "./commands.ts";
import { slotRanges, type TokenRange } from "./saved_tokens.ts";

/** Most bytes that are read at once. */
const MAX_BYTES = 16 * 2 ** 20;

/**
 * Reads rotated keys and values of tokens from a cache that holds them at their positions, modulo the slots of a ring, both
 * in one format.
 *
 * @param state Model and buffers; keys are whole again, whatever the cache stores of them.
 * @param range Which tokens of which sequence, which every layer must hold.
 * @returns Vectors, [layers, keys and values, kvHeads, tokens, headDim].
 * @throws {RequirementError} If a layer has too few slots for them.
 * @throws {GpuError} If the device has too little memory for a copy.
 */
export async function readVectors(
  state: Pick<ForwardState, "device" | "config" | "cache" | "keyCenters">,
  { sequence, from, to }: TokenRange & { readonly sequence: number },
): Promise<Float32Array> {
  const { device, config, cache } = state;
  const { layers, kvHeads, headDim } = config;
  const { keyFormat: format } = cache.shape;
  const rowBytes = vectorBytes(format, headDim);
  const byteLength = rowBytes * (to - from);
  const vectors = new Float32Array(2 * layers * kvHeads * headDim * (to - from));
  if (byteLength === 0) return vectors;
  const atOnce = Math.max(1, Math.floor(MAX_BYTES / (2 * kvHeads * byteLength)));
  for (let first = 0; first < layers; first += atOnce) {
    const part = cache.layers.slice(first, Math.min(layers, first + atOnce));
    using target = device.createBuffer("keys and values", 2 * kvHeads * byteLength * part.length);
    const copies = part.flatMap((buffers, index) => {
      const slots = layerSlots(cache.shape, first + index);
      checkInteger("read keys and values", "tokens", { value: to - from, max: slots });
      return [buffers.keys, buffers.values].flatMap((source, kind) =>
        Array.from(
          { length: kvHeads },
          (_, kvHead) =>
            slotRanges({ from, to }, slots).map((piece) => {
              const row = (sequence * kvHeads + kvHead) * slots + piece.slot;
              const head = (2 * index + kind) * kvHeads + kvHead;
              return copyCommand(source, target, rowBytes * (piece.to - piece.from), {
                from: rowBytes * row,
                to: head * byteLength + rowBytes * (piece.from - from),
              });
            }),
        ).flat()
      );
    });
    using recording = await device.record("keys and values", copies);
    device.submit(recording);
    const bytes = await device.read(target);
    const elements = unpackStored(new Uint32Array(bytes), format, headDim);
    vectors.set(elements, 2 * first * kvHeads * headDim * (to - from));
  }
  addKeyCenters(state, vectors);
  return vectors;
}
