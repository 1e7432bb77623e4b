/**
 * Inputs for the tests of kernels that sketch keys.
 *
 * @module
 */

import { packFloat16 } from "../../core/float16.ts";
import { type Random, seededRandom } from "../../core/random.ts";
import {
  levelScale,
  type SketchBits,
  sketchElements,
  sketchLevels,
  sketchRotation,
  sketchWords,
} from "../../kernels/key_sketch.ts";
import { type keyMeans, keyMeansGrid } from "../../kernels/key_means.ts";
import { type sketchKeys, sketchKeysGrid, sketchKeysParams } from "../../kernels/sketch_keys.ts";
import { type sketchQuery, sketchQueryGrid } from "../../kernels/sketch_query.ts";
import { type SketchScoresContract, sketchScoresGrid } from "../../kernels/sketch_scores.ts";
import type { ArrayRun } from "../support/run_kernel.ts";

/** Sizes of a step. */
export interface SketchCase {
  /** Tokens of each sequence before the new ones. */
  readonly lengths: readonly number[];
  /** New tokens of each. */
  readonly rows?: number;
  readonly kvHeads: number;
  readonly group: number;
  readonly headDim: number;
  readonly bits: SketchBits;
  readonly capacity: number;
  readonly isF32?: boolean;
  /** Slot of the only new key, of 8 slots; its position if left out. */
  readonly slot?: number;
  readonly firstSequence?: number;
  readonly window?: number;
  readonly softcap?: number;
}

function gaussian(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Draws normal numbers. */
export function normals(random: Random, length: number, scale = 1): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length }, () => scale * gaussian(random));
}

function stored(values: Float32Array<ArrayBuffer>, isF32 = false): Uint32Array<ArrayBuffer> {
  return isF32 ? new Uint32Array(values.buffer) : packFloat16(values);
}

function stateOf({ lengths, firstSequence = 0 }: SketchCase): Uint32Array<ArrayBuffer> {
  return Uint32Array.of(firstSequence, ...lengths);
}

/** A run of `key_means`, of the case's first sequence. */
export function meansRun(sizes: SketchCase): ArrayRun<typeof keyMeans> {
  const { lengths, kvHeads, headDim, capacity, isF32, firstSequence = 0 } = sizes;
  const random = seededRandom(3);
  const vectors = lengths.length * kvHeads;
  return {
    buffers: {
      state: Uint32Array.of(firstSequence),
      keys: stored(normals(random, vectors * capacity * headDim, 3), isF32),
      means: new Float32Array(vectors * headDim).fill(NaN),
    },
    constants: { HEAD_DIM: headDim, HAS_F32_KEYS: isF32 ? 1 : 0 },
    params: { kv_heads: kvHeads, capacity, tokens: lengths[firstSequence]! },
    grid: keyMeansGrid(sizes),
  };
}

/** A run of `sketch_keys`. */
export function keysRun(sizes: SketchCase): ArrayRun<typeof sketchKeys> {
  const { lengths, kvHeads, headDim, bits, capacity, isF32, slot, firstSequence = 0 } = sizes;
  const random = seededRandom(4);
  const vectors = lengths.length * kvHeads;
  const write = slot === undefined ? undefined : { slot, capacity: 8 };
  const shape = { ...sizes, rowsPerSequence: sizes.rows ?? 1, write };
  return {
    buffers: {
      state: stateOf(sizes),
      keys: stored(normals(random, vectors * (write?.capacity ?? capacity) * headDim, 3), isF32),
      means: normals(random, vectors * headDim),
      rotation: sketchRotation(headDim),
      levels: sketchLevels(bits),
      codes: new Uint32Array(vectors * capacity * sketchWords(sizes)).fill(0xabcdef01),
      scales: new Uint32Array(vectors * capacity / 2).fill(0x7e017e01),
    },
    constants: {
      HEAD_DIM: headDim,
      BITS: bits,
      WORDS: sketchWords(sizes),
      HAS_F32_KEYS: isF32 ? 1 : 0,
    },
    params: sketchKeysParams(shape),
    grid: sketchKeysGrid({ ...shape, sequences: lengths.length - firstSequence }),
  };
}

/** A run of `sketch_query`. */
export function queryRun(sizes: SketchCase): ArrayRun<typeof sketchQuery> {
  const { lengths, kvHeads, group, headDim, bits, firstSequence = 0 } = sizes;
  const random = seededRandom(5);
  const queryHeads = kvHeads * group;
  const stride = (queryHeads + 2 * kvHeads) * headDim;
  const rows = lengths.length - firstSequence;
  return {
    buffers: {
      state: stateOf(sizes),
      qkv: normals(random, rows * stride, 2),
      means: normals(random, lengths.length * kvHeads * headDim),
      rotation: sketchRotation(headDim),
      queries: new Float32Array(lengths.length * queryHeads * sketchElements(sizes)).fill(NaN),
      factors: new Float32Array(lengths.length * queryHeads * 2).fill(NaN),
    },
    constants: { HEAD_DIM: headDim, ELEMENTS: sketchElements(sizes) },
    params: {
      stride,
      query_heads: queryHeads,
      kv_heads: kvHeads,
      scale: headDim ** -0.5 * Math.LOG2E,
      level_scale: levelScale(bits),
    },
    grid: sketchQueryGrid({ queryHeads, sequences: rows }),
  };
}

/** A run of `sketch_scores`. */
export function scoresRun(
  sizes: SketchCase,
  variant: { readonly heads: number; readonly lanes: number },
): ArrayRun<SketchScoresContract> {
  const { lengths, kvHeads, group, headDim, bits, capacity, firstSequence = 0 } = sizes;
  const random = seededRandom(6);
  const queryHeads = kvHeads * group;
  const vectors = lengths.length * kvHeads;
  const elements = sketchElements(sizes);
  const queries = normals(random, lengths.length * queryHeads * elements, 8000);
  return {
    buffers: {
      state: stateOf(sizes),
      codes: Uint32Array.from(
        { length: vectors * capacity * sketchWords(sizes) },
        () => 2 ** 32 * random(),
      ),
      scales: packFloat16(Float32Array.from({ length: vectors * capacity }, () => 1 + random())),
      queries: queries.map((value, i) =>
        i % elements < headDim ? Math.round(Math.max(-32767, Math.min(32767, value))) : 0
      ),
      factors: Float32Array.from(
        { length: 2 * lengths.length * queryHeads },
        (_, i) => i % 2 === 0 ? 1e-6 * (1 + random()) : 3 * random() - 1,
      ),
      levels: sketchLevels(bits),
      rows: new Float32Array(lengths.length * queryHeads * capacity).fill(NaN),
    },
    params: {
      query_heads: queryHeads,
      kv_heads: kvHeads,
      capacity,
      window: sizes.window ?? 0,
      softcap: sizes.softcap ?? 0,
    },
    grid: sketchScoresGrid(variant, {
      queryHeads,
      capacity,
      sequences: lengths.length - firstSequence,
    }),
  };
}

/** Cases that kernels must agree with their twins on. */
export const SKETCH_CASES: readonly SketchCase[] = [
  { lengths: [0], kvHeads: 1, group: 1, headDim: 8, bits: 1, capacity: 4 },
  { lengths: [3, 4], kvHeads: 2, group: 3, headDim: 64, bits: 2, capacity: 12 },
  { lengths: [63, 64, 65], kvHeads: 2, group: 7, headDim: 64, bits: 1, capacity: 68 },
  { lengths: [5, 130], kvHeads: 3, group: 2, headDim: 80, bits: 2, capacity: 132, isF32: true },
  { lengths: [97], kvHeads: 2, group: 4, headDim: 24, bits: 4, capacity: 100 },
  { lengths: [20, 40], firstSequence: 1, kvHeads: 2, group: 9, headDim: 96, bits: 4, capacity: 48 },
  { lengths: [300], kvHeads: 1, group: 8, headDim: 256, bits: 2, capacity: 304, window: 70 },
  { lengths: [100], kvHeads: 2, group: 2, headDim: 64, bits: 2, capacity: 104, softcap: 5 },
  { lengths: [1001], kvHeads: 2, group: 6, headDim: 128, bits: 2, capacity: 1004 },
];
