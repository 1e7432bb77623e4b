/**
 * Rotary position embedding: angles per position, with the scalings that checkpoints announce.
 *
 * @module
 */

import type { BufferWindow, DeviceBuffer } from "../../gpu/device.ts";
import type { ModelConfig } from "../config.ts";

/** What decides the angles of a layer. */
type Rotation = Pick<ModelConfig, "ropeBase" | "ropeScaling" | "ropeFactors">;

/**
 * Inverse frequencies of the rotation, after scaling.
 *
 * @returns Radians per position for each pair of elements, [headDim / 2], without pairs that are padding.
 * @see {@link https://arxiv.org/abs/2104.09864 | RoFormer}, equation 15; the Llama 3 rule follows transformers' `rope_utils`
 */
export function inverseFrequencies(config: ModelConfig): Float64Array {
  return frequenciesOf(config, config);
}

function frequenciesOf(config: ModelConfig, rotation: Rotation): Float64Array {
  const { ropeBase, ropeScaling, ropeFactors } = rotation;
  const headDim = config.fileHeadDim ?? config.headDim;
  return Float64Array.from({ length: headDim / 2 }, (_, pair) => {
    const frequency = ropeBase ** (-2 * pair / headDim);
    if (ropeFactors !== undefined) return frequency / ropeFactors[pair]!;
    if (ropeScaling === undefined) return frequency;
    if (ropeScaling.kind === "linear") return frequency / ropeScaling.factor;
    return llama3Frequency(frequency, ropeScaling);
  });
}

/** Slow rotations are divided by the factor, fast ones kept, those in between interpolated. */
function llama3Frequency(
  frequency: number,
  scaling: NonNullable<ModelConfig["ropeScaling"]>,
): number {
  const { factor, lowFrequencyFactor = 1, highFrequencyFactor = 4 } = scaling;
  const { originalContextLength = 8192 } = scaling;
  const turns = originalContextLength * frequency / (2 * Math.PI);
  if (turns < lowFrequencyFactor) return frequency / factor;
  if (turns > highFrequencyFactor) return frequency;
  const share = (turns - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor);
  return (1 - share) * frequency / factor + share * frequency;
}

/** The different rotations of a model, and the one that each layer uses. */
function rotationsOf(config: ModelConfig): { rotations: Rotation[]; indices: number[] } {
  const rotations: Rotation[] = [];
  const keys: string[] = [];
  const indices = Array.from({ length: config.layers }, (_, layer) => {
    const own = config.layerAttention?.[layer];
    const rotation: Rotation = own?.ropeBase === undefined ? config : {
      ropeBase: own.ropeBase,
      ...(own.ropeScaling && { ropeScaling: own.ropeScaling }),
    };
    const { ropeBase, ropeScaling, ropeFactors } = rotation;
    const key = JSON.stringify([ropeBase, ropeScaling, ropeFactors]);
    if (!keys.includes(key)) rotations.push(rotation), keys.push(key);
    return keys.indexOf(key);
  });
  return { rotations, indices };
}

/** Elements of a table; tables start at multiples of 256 bytes. */
function tableLength(config: ModelConfig, capacity: number): number {
  return 64 * Math.ceil(capacity * config.headDim / 64);
}

/**
 * Tables of cosines and sines for the device, one for each rotation of the model; angles are computed in float64, since
 * float32 loses them at long positions.
 *
 * @param capacity Positions, from 0.
 * @returns Per position `headDim / 2` cosines, then as many sines, [capacity, headDim] for each rotation, padded to a
 *   multiple of 64 elements.
 */
export function rotationTable(config: ModelConfig, capacity: number): Float32Array<ArrayBuffer> {
  const { rotations } = rotationsOf(config);
  const half = config.headDim / 2;
  const length = tableLength(config, capacity);
  const table = new Float32Array(rotations.length * length);
  rotations.forEach((rotation, index) => {
    const frequencies = frequenciesOf(config, rotation);
    for (let position = 0; position < capacity; position++) {
      const place = index * length + position * 2 * half;
      for (let pair = 0; pair < half; pair++) {
        const angle = position * (frequencies[pair] ?? 0);
        table[place + pair] = Math.cos(angle);
        table[place + half + pair] = Math.sin(angle);
      }
    }
  });
  return table;
}

/**
 * The table of a layer's rotation.
 *
 * @returns Part of the tables, f32 [capacity, headDim].
 */
export function layerRotation(
  { config, rotation, workspace }: {
    readonly config: ModelConfig;
    readonly rotation: DeviceBuffer;
    readonly workspace: { readonly shape: { readonly capacity: number } };
  },
  layer: number,
): BufferWindow {
  const byteLength = 4 * tableLength(config, workspace.shape.capacity);
  const index = rotationsOf(config).indices[layer]!;
  return { buffer: rotation, byteOffset: index * byteLength, byteLength };
}
