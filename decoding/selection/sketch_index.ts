/**
 * Sketches of the keys of all layers on the device.
 *
 * @module
 */

import { checkInteger } from "../../core/check.ts";
import type { DeviceBuffer } from "../../gpu/device.ts";
import { keyMeansCommand } from "../../kernels/key_means.ts";
import {
  type SketchBits,
  sketchElements,
  sketchLevels,
  sketchRotation,
  sketchWords,
} from "../../kernels/key_sketch.ts";
import { MOST_SKETCHED_TOKENS, sketchKeysCommand } from "../../kernels/sketch_keys.ts";
import { sketchQueryCommand } from "../../kernels/sketch_query.ts";
import { sketchScoresCommand } from "../../kernels/sketch_scores.ts";
import { attentionShape, type ForwardState } from "../../models/forward/forward.ts";
import type { DeviceIndex, IndexSizes } from "./key_index.ts";

/** What is kept of a layer's keys. */
interface LayerSketch {
  /** Mean key of the prompt, f32 [sequences, kvHeads, headDim]. */
  readonly means: DeviceBuffer;
  /** Codes, see `kernels/key_sketch.ts`. */
  readonly codes: DeviceBuffer;
  /** Scales, f16 [sequences, kvHeads, capacity]. */
  readonly scales: DeviceBuffer;
}

/**
 * Allocates the sketches of all layers.
 *
 * @param forward Model.
 * @param index Bits of an element.
 * @param sizes Sequences and capacity.
 * @throws {RequirementError} If the capacity is more than can be coded at once.
 * @throws {GpuError} If the device has too little memory.
 */
export function createSketchIndex(
  { device, config }: ForwardState,
  { bits }: { readonly bits: SketchBits },
  { sequences, capacity }: IndexSizes,
): DeviceIndex {
  const most = { value: capacity, max: MOST_SKETCHED_TOKENS };
  checkInteger("keep sketches of keys", "capacity in tokens", most);
  const { headDim, kvHeads, queryHeads, layers } = config;
  const size = { headDim, bits };
  const heads = sequences * kvHeads;
  using stack = new DisposableStack();
  const words = (label: string, count: number) => stack.use(device.createBuffer(label, 4 * count));
  const kept: LayerSketch[] = Array.from({ length: layers }, (_, layer) => ({
    means: words(`mean keys of layer ${layer}`, heads * headDim),
    codes: words(`codes of keys of layer ${layer}`, heads * capacity * sketchWords(size)),
    scales: words(`scales of keys of layer ${layer}`, heads * capacity / 2),
  }));
  const rotation = words("rotation of sketches", headDim * headDim);
  const levels = words("levels of sketches", 2 ** bits);
  const queries = words("rotated queries", sequences * queryHeads * sketchElements(size));
  const factors = words("factors of sketches", 2 * sequences * queryHeads);
  device.write(rotation, 0, sketchRotation(headDim));
  device.write(levels, 0, sketchLevels(bits));
  const shared = { rotation, levels };
  const owned = stack.move();
  return {
    byteLength: kept.reduce(
      (sum, { means, codes, scales }) =>
        sum + means.byteLength + codes.byteLength + scales.byteLength,
      0,
    ),
    build({ cache }, layer, { tokens, promptTokens }, state) {
      const { keys } = cache.layers[layer]!;
      const { keyFormat } = cache.shape;
      const shape = { ...size, keyFormat, kvHeads, capacity };
      const buffers = { ...shared, ...kept[layer]!, state, keys };
      return [
        keyMeansCommand(buffers, { ...shape, tokens: promptTokens }),
        sketchKeysCommand(buffers, { ...shape, sequences: 1, rowsPerSequence: tokens }),
      ];
    },
    score(forward, layer, rows) {
      const { workspace: { state, queryKeyValue: qkv }, cache } = forward;
      const { keys, write } = cache.layers[layer]!;
      const step = { sequences, rowsPerSequence: 1 };
      const { scale, softcap, window, stride } = attentionShape(forward, step, layer);
      const shape = { ...size, ...step, keyFormat: cache.shape.keyFormat, kvHeads, queryHeads };
      const buffers = { ...shared, ...kept[layer]!, state, keys, qkv, queries, factors, rows };
      const factor = softcap === undefined ? scale! * Math.LOG2E : scale! / softcap;
      return [
        sketchKeysCommand(buffers, { ...shape, capacity, write }),
        sketchQueryCommand(buffers, { ...shape, stride, scale: factor }),
        sketchScoresCommand(device.info, buffers, { ...shape, capacity, softcap, window }),
      ];
    },
    [Symbol.dispose]: () => owned.dispose(),
  };
}
