/**
 * Inputs for the tests of the attention kernels.
 *
 * @module
 */

import { packFloat16 } from "../../core/float16.ts";
import { seededRandom } from "../../core/random.ts";
import { logSumExp, rowScores } from "../../kernels/attention_reference.ts";
import {
  type AttentionLayout,
  attentionParams,
  type AttentionRule,
  type AttentionShape,
  type KvFormat,
  type LaneUse,
} from "../../kernels/attention_shape.ts";
import { kvBits, quantizeRow } from "../../kernels/quantized_rows.ts";
import type { AdapterFeatures } from "../../kernels/shapes.ts";
import type { Kernel, KernelArrays, KernelContract } from "../../gpu/kernel.ts";
import { gpuBackend, hasGpu, testDevice } from "../support/gpu.ts";
import { type ArrayRun, runReference } from "../support/run_kernel.ts";

/** A step of attention on a cache that is partly filled. */
export interface AttentionCase extends AttentionRule {
  /** Query heads. */
  readonly queryHeads: number;
  /** KV heads. */
  readonly kvHeads: number;
  /** Elements of a head. */
  readonly headDim: number;
  /** New tokens of each sequence. */
  readonly rowsPerSequence: number;
  /** Tokens already cached, for each sequence of the step. */
  readonly cached: readonly number[];
  /** Sequences of the cache before the first of the step; 0 if left out. */
  readonly firstSequence?: number;
  /** Positions beyond the longest sequence; 3 if left out. */
  readonly spare?: number;
  /** Whether a random half of the positions is hidden. */
  readonly isMasked?: boolean;
  /** How keys are stored; `f16` if left out. */
  readonly keyFormat?: KvFormat;
  /** How values are stored; `f16` if left out. */
  readonly valueFormat?: KvFormat;
  /** Head vectors of a KV head where tokens are at their positions modulo this; as many as positions if left out. */
  readonly ring?: number;
}

const Q4 = { keyFormat: "u4", valueFormat: "u4" } as const;
const Q8 = { keyFormat: "u8", valueFormat: "u8" } as const;
const Q84 = { keyFormat: "u8", valueFormat: "u4" } as const;

/** Shapes with keys and values of codes. */
const CODED_CASES: readonly AttentionCase[] = [
  { queryHeads: 1, kvHeads: 1, headDim: 8, rowsPerSequence: 1, cached: [0], spare: 0, ...Q4 },
  { queryHeads: 3, kvHeads: 1, headDim: 24, rowsPerSequence: 7, cached: [70, 2], ...Q4 },
  { queryHeads: 14, kvHeads: 2, headDim: 64, rowsPerSequence: 33, cached: [95], ...Q4 },
  { queryHeads: 14, kvHeads: 2, headDim: 64, rowsPerSequence: 1, cached: [127, 0], ...Q4 },
  { queryHeads: 12, kvHeads: 2, headDim: 128, rowsPerSequence: 5, cached: [300], ...Q4 },
  { queryHeads: 14, kvHeads: 2, headDim: 64, rowsPerSequence: 33, cached: [95], ...Q8 },
  { queryHeads: 4, kvHeads: 1, headDim: 80, rowsPerSequence: 1, cached: [150], ...Q8 },
  { queryHeads: 14, kvHeads: 2, headDim: 64, rowsPerSequence: 33, cached: [95], ...Q84 },
  { queryHeads: 4, kvHeads: 1, headDim: 80, rowsPerSequence: 1, cached: [150], ...Q84 },
  { queryHeads: 4, kvHeads: 1, headDim: 64, rowsPerSequence: 3, cached: [40], keyFormat: "u4" },
  { queryHeads: 4, kvHeads: 1, headDim: 64, rowsPerSequence: 3, cached: [40], valueFormat: "u8" },
  {
    queryHeads: 6,
    kvHeads: 2,
    headDim: 80,
    rowsPerSequence: 17,
    cached: [15, 160],
    firstSequence: 1,
    isMasked: true,
    window: 110,
    ring: 128,
    softcap: 1.5,
    hasSinks: true,
    ...Q4,
  },
];

/** Shapes that every attention kernel is tested with: 1, primes, around a workgroup, real models. */
export const ATTENTION_CASES: readonly AttentionCase[] = [
  { queryHeads: 1, kvHeads: 1, headDim: 8, rowsPerSequence: 1, cached: [0], spare: 0 },
  { queryHeads: 3, kvHeads: 3, headDim: 16, rowsPerSequence: 7, cached: [0] },
  { queryHeads: 4, kvHeads: 2, headDim: 24, rowsPerSequence: 5, cached: [13, 2], firstSequence: 1 },
  { queryHeads: 4, kvHeads: 1, headDim: 80, rowsPerSequence: 17, cached: [15, 16, 17] },
  { queryHeads: 14, kvHeads: 2, headDim: 64, rowsPerSequence: 31, cached: [0] },
  { queryHeads: 14, kvHeads: 2, headDim: 64, rowsPerSequence: 33, cached: [95], isMasked: true },
  { queryHeads: 14, kvHeads: 2, headDim: 64, rowsPerSequence: 1, cached: [127, 0], isMasked: true },
  { queryHeads: 12, kvHeads: 2, headDim: 128, rowsPerSequence: 32, cached: [40] },
  { queryHeads: 32, kvHeads: 8, headDim: 128, rowsPerSequence: 1, cached: [300], isMasked: true },
  { queryHeads: 14, kvHeads: 2, headDim: 64, rowsPerSequence: 33, cached: [9], keyFormat: "f32" },
  { queryHeads: 3, kvHeads: 1, headDim: 24, rowsPerSequence: 1, cached: [70, 2], keyFormat: "f32" },
  { queryHeads: 4, kvHeads: 1, headDim: 64, rowsPerSequence: 1, cached: [33], valueFormat: "f32" },
  {
    queryHeads: 14,
    kvHeads: 2,
    headDim: 64,
    rowsPerSequence: 33,
    cached: [9, 40],
    keyFormat: "f32",
    valueFormat: "f32",
  },
  { queryHeads: 14, kvHeads: 2, headDim: 64, rowsPerSequence: 33, cached: [95], window: 20 },
  { queryHeads: 4, kvHeads: 2, headDim: 64, rowsPerSequence: 1, cached: [300, 5], window: 33 },
  { queryHeads: 4, kvHeads: 2, headDim: 16, rowsPerSequence: 40, cached: [3], window: 1 },
  { queryHeads: 14, kvHeads: 2, headDim: 64, rowsPerSequence: 9, cached: [70], softcap: 0.75 },
  { queryHeads: 3, kvHeads: 1, headDim: 24, rowsPerSequence: 1, cached: [40], softcap: 20 },
  { queryHeads: 14, kvHeads: 2, headDim: 64, rowsPerSequence: 9, cached: [4], hasSinks: true },
  { queryHeads: 3, kvHeads: 1, headDim: 24, rowsPerSequence: 1, cached: [40], hasSinks: true },
  ...[1, 17].map((rowsPerSequence) => ({
    queryHeads: 6,
    kvHeads: 2,
    headDim: 80,
    rowsPerSequence,
    cached: [15, 160],
    firstSequence: 1,
    isMasked: true,
    window: 21,
    softcap: 1.5,
    hasSinks: true,
  })),
  {
    queryHeads: 4,
    kvHeads: 2,
    headDim: 64,
    rowsPerSequence: 1,
    cached: [300, 5],
    window: 33,
    ring: 64,
  },
  {
    queryHeads: 14,
    kvHeads: 2,
    headDim: 64,
    rowsPerSequence: 33,
    cached: [115],
    window: 20,
    ring: 64,
  },
  {
    queryHeads: 6,
    kvHeads: 2,
    headDim: 16,
    rowsPerSequence: 9,
    cached: [200],
    window: 120,
    ring: 128,
  },
  ...[1, 17].map((rowsPerSequence) => ({
    queryHeads: 6,
    kvHeads: 2,
    headDim: 80,
    rowsPerSequence,
    cached: [15, 160],
    firstSequence: 1,
    isMasked: true,
    window: 110,
    ring: 128,
    softcap: 1.5,
    hasSinks: true,
    keyFormat: "f32",
    valueFormat: "f32",
  } as const)),
  ...CODED_CASES,
];

/** Arrays of a case. */
export interface AttentionArrays {
  readonly state: Uint32Array;
  readonly qkv: Float32Array;
  readonly keys: Uint32Array;
  readonly values: Uint32Array;
  readonly visible: Uint32Array;
  readonly sinks?: Float32Array;
}

/**
 * Completes the sizes of a case.
 *
 * @param sizes The case.
 * @returns The shape; rows have 32 unused elements at their end.
 */
export function shapeOf(sizes: AttentionCase): AttentionShape & AttentionRule {
  const { queryHeads, kvHeads, headDim, rowsPerSequence, cached, spare = 3 } = sizes;
  const { window, ring, softcap, hasSinks } = sizes;
  return {
    window,
    ring,
    softcap,
    hasSinks,
    queryHeads,
    kvHeads,
    headDim,
    rowsPerSequence,
    sequences: cached.length,
    capacity: Math.max(...cached) + rowsPerSequence + spare,
    stride: (queryHeads + 2 * kvHeads) * headDim + 32,
    outputStride: queryHeads * headDim + 32,
    isMasked: sizes.isMasked ?? false,
    ...(sizes.keyFormat && { keyFormat: sizes.keyFormat }),
    ...(sizes.valueFormat && { valueFormat: sizes.valueFormat }),
  };
}

/**
 * Makes random inputs; halves are multiples of 1/64, which they hold exactly.
 *
 * @param sizes The case.
 * @param seed Seed.
 * @returns Arrays.
 */
export function attentionArrays(sizes: AttentionCase, seed = 1): AttentionArrays {
  const { cached, firstSequence = 0, rowsPerSequence, queryHeads } = sizes;
  const shape = shapeOf(sizes);
  const random = seededRandom(seed);
  const halves = (length: number) =>
    packFloat16(Float32Array.from({ length }, () => Math.round(128 * random() - 64) / 64));
  const sequences = firstSequence + cached.length;
  const cacheLength = sequences * sizes.kvHeads * (sizes.ring ?? shape.capacity) *
    sizes.headDim;
  const coded = (bits: number) =>
    Uint32Array.from(
      Array.from({ length: cacheLength / sizes.headDim }, () => {
        const [middle, size] = [random() - 0.5, 0.1 + random()];
        const vector = Array.from({ length: sizes.headDim }, () => middle + size * random());
        return [...quantizeRow(vector, bits)];
      }).flat(),
    );
  const stored = (format: KvFormat | undefined) =>
    kvBits(format) < 16 ? coded(kvBits(format)) : format === "f32"
      ? new Uint32Array(
        Float32Array.from({ length: cacheLength }, () => 2 * random() - 1).buffer,
      )
      : halves(cacheLength);
  const rows = cached.length * rowsPerSequence;
  const words = Math.ceil(shape.capacity / 32);
  const visible = Uint32Array.from({ length: queryHeads * words }, () => random() * 2 ** 32);
  for (let head = 0; head < queryHeads; head++) {
    for (const start of cached) {
      for (let key = start; key < start + rowsPerSequence; key++) {
        visible[head * words + (key >>> 5)]! |= 1 << (key & 31);
      }
    }
  }
  return {
    state: Uint32Array.of(firstSequence, ...new Array(firstSequence).fill(0), ...cached),
    qkv: Float32Array.from({ length: rows * shape.stride }, () => 4 * random() - 2),
    keys: stored(sizes.keyFormat),
    values: stored(sizes.valueFormat),
    visible,
    ...(sizes.hasSinks && { sinks: Float32Array.from({ length: queryHeads }, (_, i) => i - 2.5) }),
  };
}

/** A device and the variant of a kernel that it runs. */
export interface TestVariant {
  /** Back end of the device. */
  readonly backend: typeof gpuBackend | "cpu";
  /** Lanes of a subgroup. */
  readonly subgroupSize: number;
  /** How lanes are used. */
  readonly layout: AttentionLayout;
}

/** The part of a variant that its kernel depends on. */
export function lanesOf({ subgroupSize, layout }: TestVariant): LaneUse {
  return { subgroupSize, layout };
}

/** What a device says that makes it take a variant. */
export function featuresOf({ subgroupSize, layout }: TestVariant): AdapterFeatures {
  return { subgroupSize, isSoftware: layout === "rows" };
}

/**
 * Variants to test: of an adapter its own, the portable one, which the CPU device runs as well, and that of GPUs.
 */
export const TEST_VARIANTS: readonly TestVariant[] = [
  ...[...new Set(hasGpu ? [(await testDevice()).info.subgroupSize, 0] : [])]
    .map((subgroupSize) => ({ backend: gpuBackend, subgroupSize, layout: "rows" }) as const),
  ...(hasGpu ? [{ backend: gpuBackend, subgroupSize: 0, layout: "shared" } as const] : []),
  { backend: "cpu", subgroupSize: 0, layout: "rows" },
];

/** Names a variant in the name of a test. */
export function variantName({ backend, subgroupSize, layout }: TestVariant): string {
  return layout === "rows" ? `${backend}, subgroups of ${subgroupSize}` : `${backend}, ${layout}`;
}

/**
 * States the rounding of attention.
 *
 * @param shape Sizes of the step.
 * @returns Terms of the sums; partial sums are as large as a score may be.
 */
export function attentionAllowance(shape: AttentionShape): { terms: number; magnitude: number } {
  return { terms: shape.headDim + shape.capacity, magnitude: 2 };
}

/**
 * Makes an array whose elements fail a comparison until they are written.
 *
 * @param length Elements.
 * @returns NaNs.
 */
export function unwritten(length: number): Float32Array {
  return new Float32Array(length).fill(NaN);
}

/**
 * Runs the twin of a kernel that a CPU could not run itself for lack of subgroups.
 *
 * @param kernel The kernel.
 * @param run Its arrays and parameters.
 * @returns Every array as it is after the run.
 */
export async function runTwin<C extends KernelContract>(
  kernel: Kernel<C>,
  run: ArrayRun<C>,
): Promise<KernelArrays<C>> {
  const { subgroupSize: _, ...portable } = kernel;
  return await runReference(portable as Kernel<C>, run);
}

/**
 * Computes the log-sum-exp of every row in float64, as the first pass stores it.
 *
 * @param sizes The case.
 * @param arrays Its inputs.
 * @returns f32 [queryHeads, rows].
 */
export function logSums(sizes: AttentionCase, arrays: AttentionArrays): Float32Array {
  const shape = shapeOf(sizes);
  const rows = shape.sequences * shape.rowsPerSequence;
  const run = { buffers: arrays, params: attentionParams(shape) };
  return Float32Array.from({ length: shape.queryHeads * rows }, (_, index) => {
    const head = Math.floor(index / rows);
    const scores = rowScores(run, { ...shape, row: index % rows, head });
    return logSumExp(scores, arrays.sinks?.[head]);
  });
}

/**
 * Leaves out what the second pass does not read.
 *
 * @param arrays Inputs of a step.
 * @returns The same without values and sinks.
 */
export function withoutValues(arrays: AttentionArrays): Omit<AttentionArrays, "values" | "sinks"> {
  const { values: _, sinks: __, ...others } = arrays;
  return others;
}
