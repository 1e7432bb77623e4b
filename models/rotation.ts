/**
 * Rotary position embedding: angles per position, with the scalings that checkpoints announce.
 *
 * @module
 */

import type { BufferWindow, DeviceBuffer } from "../gpu/device.ts";
import type { ModelConfig, RopeScaling } from "./config.ts";

/** What decides the angles of a layer. */
type Rotation = Pick<ModelConfig, "ropeBase" | "ropeScaling" | "ropeFactors">;

/**
 * Inverse frequencies of a layer's rotation, after scaling.
 *
 * @param layer Layer of the model.
 * @param capacity Tokens that there is room for, which some scalings depend on.
 * @returns Radians per position for each pair of elements, [headDim / 2], without pairs that are padding.
 * @see {@link https://arxiv.org/abs/2104.09864 | RoFormer}, equation 15; scalings follow transformers' `rope_utils`
 */
export function inverseFrequencies(
  config: ModelConfig,
  layer: number,
  capacity: number,
): Float64Array {
  return frequenciesOf(config, rotationOf(config, layer), capacity);
}

/**
 * Factor on products of rotated queries and keys that a layer's scaling asks for: the square of the one on either.
 *
 * @returns 1 for most scalings.
 */
export function rotationFactor(config: ModelConfig, layer: number): number {
  return (rotationOf(config, layer).ropeScaling?.attentionFactor ?? 1) ** 2;
}

function frequenciesOf(config: ModelConfig, rotation: Rotation, capacity: number): Float64Array {
  const { ropeBase, ropeScaling, ropeFactors } = rotation;
  const headDim = config.fileHeadDim ?? config.headDim;
  const base = ropeScaling?.kind === "dynamic"
    ? ropeBase * dynamicGrowth(ropeScaling, capacity) ** (headDim / (headDim - 2))
    : ropeBase;
  return Float64Array.from({ length: headDim / 2 }, (_, pair) => {
    const frequency = base ** (-2 * pair / headDim);
    if (ropeFactors !== undefined) return frequency / ropeFactors[pair]!;
    switch (ropeScaling?.kind) {
      case undefined:
      case "dynamic":
        return frequency;
      case "linear":
        return frequency / ropeScaling.factor;
      case "llama3":
        return llama3Frequency(frequency, ropeScaling);
      case "yarn":
        return yarnFrequency(frequency, { pair, headDim, ropeBase, ropeScaling });
      case "longrope": {
        const { longFactors, shortFactors, originalContextLength = 0 } = ropeScaling;
        return frequency / (capacity > originalContextLength ? longFactors! : shortFactors!)[pair]!;
      }
    }
  });
}

/** Whether a model's rotation depends on how many tokens there is room for. */
export function isRotationByCapacity(config: ModelConfig): boolean {
  return rotationsOf(config).rotations.some(({ ropeScaling }) =>
    ropeScaling?.kind === "dynamic" || ropeScaling?.kind === "longrope"
  );
}

/** How much the base grows, before its exponent: nothing within the context that the model was trained on. */
function dynamicGrowth(
  { factor, originalContextLength: trained = Infinity }: RopeScaling,
  capacity: number,
): number {
  return factor * Math.max(capacity, trained) / trained - (factor - 1);
}

/** Pairs that turn fast are kept, slow ones divided, and those in between interpolated by their place. */
function yarnFrequency(
  frequency: number,
  { pair, headDim, ropeBase, ropeScaling }: {
    readonly pair: number;
    readonly headDim: number;
    readonly ropeBase: number;
    readonly ropeScaling: RopeScaling;
  },
): number {
  const { factor, originalContextLength, turns = [32, 1], isTruncated = true } = ropeScaling;
  const [first, last] = turns.map((count) =>
    headDim * Math.log(originalContextLength! / (2 * Math.PI * count)) / (2 * Math.log(ropeBase))
  ) as [number, number];
  const low = Math.max(isTruncated ? Math.floor(first) : first, 0);
  const high = Math.min(isTruncated ? Math.ceil(last) : last, headDim - 1);
  const slope = low === high ? 0.001 : high - low;
  const share = Math.min(1, Math.max(0, (pair - low) / slope));
  return share * frequency / factor + (1 - share) * frequency;
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

/** What decides the angles of a layer. */
function rotationOf(config: ModelConfig, layer: number): Rotation {
  const own = config.layerAttention?.[layer];
  if (own?.ropeBase === undefined) return config;
  return { ropeBase: own.ropeBase, ...(own.ropeScaling && { ropeScaling: own.ropeScaling }) };
}

/** The different rotations of a model, and the one that each layer uses. */
function rotationsOf(config: ModelConfig): { rotations: Rotation[]; indices: number[] } {
  const rotations: Rotation[] = [];
  const keys: string[] = [];
  const indices = Array.from({ length: config.layers }, (_, layer) => {
    const rotation = rotationOf(config, layer);
    const { ropeBase, ropeScaling, ropeFactors } = rotation;
    const key = JSON.stringify([ropeBase, ropeScaling, ropeFactors]);
    if (!keys.includes(key)) rotations.push(rotation), keys.push(key);
    return keys.indexOf(key);
  });
  return { rotations, indices };
}

/**
 * Factor on the rotated query of a token, which keeps attention sharp over more tokens than those of the original context:
 * 1 there, and then a logarithm of how many such contexts are full.
 *
 * @param position Position of the token, from 0.
 * @returns 1 for models without such a scale.
 * @see {@link https://github.com/huggingface/transformers | transformers}, `get_llama_4_attn_scale` of Ministral 3
 */
export function queryScale({ queryScaling }: ModelConfig, position: number): number {
  if (queryScaling === undefined) return 1;
  const { beta, contextLength } = queryScaling;
  return 1 + beta * Math.log1p(Math.floor(position / contextLength));
}

/**
 * Whether queries and keys are rotated by different tables.
 *
 * @param capacity Positions, from 0.
 * @returns False where every scale is 1, as it is in the original context.
 */
export function hasScaledQueries(config: ModelConfig, capacity: number): boolean {
  return queryScale(config, capacity - 1) !== 1;
}

/** Elements of a table; tables start at multiples of 256 bytes. */
function tableLength(config: ModelConfig, capacity: number): number {
  const parts = hasScaledQueries(config, capacity) ? 2 : 1;
  return 64 * Math.ceil(parts * capacity * config.headDim / 64);
}

/**
 * Tables of cosines and sines for the device, one for each rotation of the model; angles are computed in float64, since
 * float32 loses them at long positions. Scalings that depend on the number of tokens go by the capacity, since a table
 * must not change once keys are cached. Where queries are scaled by position, a table has a second part for them, which
 * is multiplied by the scale: rotation is linear.
 *
 * @param capacity Positions, from 0.
 * @returns Per position `headDim / 2` cosines, then as many sines, [capacity or 2 * capacity, headDim] for each rotation,
 *   padded to a multiple of 64 elements.
 */
export function rotationTable(config: ModelConfig, capacity: number): Float32Array<ArrayBuffer> {
  const { rotations } = rotationsOf(config);
  const half = config.headDim / 2;
  const length = tableLength(config, capacity);
  const table = new Float32Array(rotations.length * length);
  const isScaled = hasScaledQueries(config, capacity);
  rotations.forEach((rotation, index) => {
    const frequencies = frequenciesOf(config, rotation, capacity);
    for (let position = 0; position < capacity; position++) {
      const place = index * length + position * 2 * half;
      for (let pair = 0; pair < half; pair++) {
        const angle = position * (frequencies[pair] ?? 0);
        table[place + pair] = Math.cos(angle);
        table[place + half + pair] = Math.sin(angle);
      }
    }
    if (isScaled) scaleQueries(config, table.subarray(index * length), capacity);
  });
  return table;
}

/** Writes the part of queries behind that of keys. */
function scaleQueries(config: ModelConfig, table: Float32Array, capacity: number): void {
  const { headDim } = config;
  for (let position = 0; position < capacity; position++) {
    const scale = queryScale(config, position);
    const row = table.subarray(position * headDim, (position + 1) * headDim);
    row.forEach((value, i) => table[(capacity + position) * headDim + i] = scale * value);
  }
}

/**
 * Where queries find their part of a layer's rotation.
 *
 * @returns Row of the query at position 0; 0 where queries and keys share one table.
 */
export function queryRotation(config: ModelConfig, capacity: number): number {
  return hasScaledQueries(config, capacity) ? capacity : 0;
}

/**
 * The table of a layer's rotation.
 *
 * @returns Part of the tables, f32 [capacity, headDim], and the part of queries after it where they are scaled.
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
