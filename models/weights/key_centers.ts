/**
 * What is subtracted from keys before they are rounded to 16 bits.
 *
 * @see docs/method.md, "Centered keys"
 * @module
 */

import type { Device, DeviceBuffer } from "../../gpu/device.ts";
import type { ModelConfig } from "../config.ts";
import { inverseFrequencies } from "../rotation.ts";

/** Positions over which the rotated bias is averaged. */
export const CENTER_POSITIONS = 4096;

/** What is subtracted from the keys of a layer. */
export interface KeyCenter {
  /** For each KV head, [kvHeads, headDim]. */
  readonly values: Float32Array<ArrayBuffer>;
  /** The same on the device. */
  readonly buffer: DeviceBuffer;
}

/** Centers of each layer; undefined where keys are stored as they are. */
export type KeyCenters = readonly (KeyCenter | undefined)[];

/**
 * Puts the center of a layer's keys on the device.
 *
 * @param device Where it goes; whoever calls this disposes of its buffer.
 * @param values As `keyCenter` returns them.
 * @throws {GpuError} If the device has too little memory.
 */
export function createKeyCenter(device: Device, values: Float32Array<ArrayBuffer>): KeyCenter {
  const buffer = device.createBuffer("center of keys", values.byteLength);
  device.write(buffer, 0, values);
  return { values, buffer };
}

/**
 * The center of a layer's keys: the mean of their rotated bias over the first positions.
 *
 * It depends on the model alone, not on a text or a session, so that stored keys mean the same everywhere. Scores of a query
 * change by the same number for all keys, and attention by nothing; but not so under a softcap, and beside a sink.
 *
 * @param config Model.
 * @param layer Layer.
 * @param keyBias What its projection to keys adds, [kvHeads * headDim].
 * @returns Center, [kvHeads, headDim]; undefined if keys are normed after the bias, or the layer has softcap or sinks.
 */
export function keyCenter(
  config: ModelConfig,
  layer: number,
  keyBias: Float64Array,
): Float32Array<ArrayBuffer> | undefined {
  const { softcap, hasSinks } = config.layerAttention?.[layer] ?? {};
  if (config.hasQkNorm || softcap !== undefined || hasSinks) return undefined;
  const half = config.headDim / 2;
  const center = new Float32Array(keyBias.length);
  const frequencies = inverseFrequencies(config, layer, CENTER_POSITIONS);
  const means = Array.from({ length: half }, (_, pair) => meanTurn(frequencies[pair] ?? 0));
  for (let i = 0; i < keyBias.length; i++) {
    const pair = i % half;
    const [cosine, sine] = means[pair]!;
    const isFirst = i % config.headDim < half;
    center[i] = cosine * keyBias[i]! +
      (isFirst ? -sine : sine) * keyBias[isFirst ? i + half : i - half]!;
  }
  return center;
}

/**
 * Adds to keys what was subtracted from them before they were stored.
 *
 * @param state Model and its centers.
 * @param vectors Stored keys, and values, which stay; [layers, keys and values, kvHeads, tokens, headDim]. Changed in place.
 */
export function addKeyCenters(
  { config: { kvHeads, headDim, layers }, keyCenters }: {
    readonly config: Pick<ModelConfig, "kvHeads" | "headDim" | "layers">;
    readonly keyCenters?: KeyCenters;
  },
  vectors: Float32Array,
): void {
  const tokens = vectors.length / (2 * layers * kvHeads * headDim);
  keyCenters?.forEach((center, layer) => {
    if (center === undefined) return;
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const first = (2 * layer * kvHeads + kvHead) * tokens * headDim;
      for (let i = 0; i < tokens * headDim; i++) {
        vectors[first + i]! += center.values[kvHead * headDim + i % headDim]!;
      }
    }
  });
}

/** Mean cosine and sine of a pair's angle over the first positions: a geometric sum of turns. */
function meanTurn(frequency: number): [cosine: number, sine: number] {
  if (frequency === 0) return [1, 0];
  const length = Math.sin(CENTER_POSITIONS * frequency / 2) /
    (CENTER_POSITIONS * Math.sin(frequency / 2));
  const angle = (CENTER_POSITIONS - 1) * frequency / 2;
  return [length * Math.cos(angle), length * Math.sin(angle)];
}
