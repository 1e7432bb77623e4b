/**
 * Reads cached keys and values from the device.
 *
 * @module
 */

import { headBytes, layerSlots } from "../../cache/full_cache.ts";
import { checkInteger } from "../../core/check.ts";
import { unpackStored } from "../../kernels/attention_reference.ts";
import type { ForwardState } from "../../models/forward/forward.ts";
import { addKeyCenters } from "../../models/weights/key_centers.ts";
import { copyCommand } from "./commands.ts";
import { slotRanges, type TokenRange } from "./saved_tokens.ts";

/** Most bytes that are read at once. */
const MAX_BYTES = 16 * 2 ** 20;

/**
 * Reads rotated keys and values of tokens from a cache that holds them at their positions, modulo the slots of a ring.
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
  const { keyFormat, valueFormat } = cache.shape;
  const bytesOf = headBytes(cache.shape);
  const kindElements = kvHeads * headDim * (to - from);
  const vectors = new Float32Array(2 * layers * kindElements);
  if (kindElements === 0) return vectors;
  const keyBytes = kvHeads * bytesOf.keys * (to - from);
  const layerBytes = keyBytes + kvHeads * bytesOf.values * (to - from);
  const atOnce = Math.max(1, Math.floor(MAX_BYTES / layerBytes));
  for (let first = 0; first < layers; first += atOnce) {
    const part = cache.layers.slice(first, Math.min(layers, first + atOnce));
    using target = device.createBuffer("keys and values", layerBytes * part.length);
    const copies = part.flatMap((buffers, index) => {
      const slots = layerSlots(cache.shape, first + index);
      checkInteger("read keys and values", "tokens", { value: to - from, max: slots });
      return (["keys", "values"] as const).flatMap((kind) => {
        const rowBytes = bytesOf[kind];
        const place = index * layerBytes + (kind === "keys" ? 0 : keyBytes);
        return Array.from(
          { length: kvHeads },
          (_, kvHead) =>
            slotRanges({ from, to }, slots).map((piece) => {
              const row = (sequence * kvHeads + kvHead) * slots + piece.slot;
              return copyCommand(buffers[kind], target, rowBytes * (piece.to - piece.from), {
                from: rowBytes * row,
                to: place + rowBytes * (kvHead * (to - from) + piece.from - from),
              });
            }),
        ).flat();
      });
    });
    using recording = await device.record("keys and values", copies);
    device.submit(recording);
    const words = new Uint32Array(await device.read(target));
    part.forEach((_, index) => {
      const layer = words.subarray(index * layerBytes / 4, (index + 1) * layerBytes / 4);
      const keys = unpackStored(layer.subarray(0, keyBytes / 4), keyFormat, headDim);
      const values = unpackStored(layer.subarray(keyBytes / 4), valueFormat, headDim);
      vectors.set(keys, 2 * (first + index) * kindElements);
      vectors.set(values, (2 * (first + index) + 1) * kindElements);
    });
  }
  addKeyCenters(state, vectors);
  return vectors;
}
