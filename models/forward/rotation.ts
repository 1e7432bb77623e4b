/**
 * Rotary position embedding: angles per position, with the scalings that checkpoints announce.
 *
 * @module
 */

import type { ModelConfig } from "../config.ts";

/**
 * Inverse frequencies of the rotation, after scaling.
 *
 * @param config Model whose base, head size and scaling are used.
 * @returns Radians per position for each pair of elements, [headDim / 2], without pairs of zeros in widened heads.
 * @see {@link https://arxiv.org/abs/2104.09864 | RoFormer}, equation 15; the Llama 3 rule follows transformers' `rope_utils`
 */
export function inverseFrequencies(config: ModelConfig): Float64Array {
  const { ropeBase, ropeScaling, ropeFactors } = config;
  const headDim = config.fileHeadDim ?? config.headDim;
  return Float64Array.from({ length: headDim / 2 }, (_, pair) => {
    const frequency = ropeBase ** (-2 * pair / headDim);
    if (ropeFactors !== undefined) return frequency / ropeFactors[pair]!;
    if (ropeScaling === undefined) return frequency;
    if (ropeScaling.kind === "linear") return frequency / ropeScaling.factor;
    return llama3Frequency(frequency, ropeScaling);
  });
}

/** Slow rotations are divided by the factor, fast ones kept, those between interpolated. */
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

/**
 * Table of cosines and sines for the device; angles are computed in float64, since float32 loses them at long positions.
 *
 * @param config Model whose frequencies are used.
 * @param capacity Positions, from 0.
 * @returns Per position `headDim / 2` cosines, then as many sines, [capacity, headDim].
 */
export function rotationTable(config: ModelConfig, capacity: number): Float32Array<ArrayBuffer> {
  const frequencies = inverseFrequencies(config);
  const half = config.headDim / 2;
  const table = new Float32Array(capacity * 2 * half);
  for (let position = 0; position < capacity; position++) {
    for (let pair = 0; pair < half; pair++) {
      const angle = position * (frequencies[pair] ?? 0);
      table[position * 2 * half + pair] = Math.cos(angle);
      table[position * 2 * half + half + pair] = Math.sin(angle);
    }
  }
  return table;
}
