/**
 * Rotary position embedding of queries and keys, and the write to the cache: contract and twin.
 *
 * @see {@link https://arxiv.org/abs/2104.09864 | RoFormer}; pairs are half a head apart, as in the Llama family.
 * @module
 */

import { checkInteger, RequirementError } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { rowPlace, unpackStored } from "./attention_reference.ts";
import type { AttentionShape } from "./attention_shape.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import { kvBits, quantizeRow } from "./quantized_rows.ts";
import wgsl from "./rope_cache.wgsl" with { type: "text" };

const WORKGROUP_SIZE = 64;
/** Elements of the heads of a workgroup, where they are rounded together. */
const TILE = 4 * WORKGROUP_SIZE;
/** Stands for the slot of each token's position, modulo the slots that there are. */
const NOT_FIXED = 0xffffffff;

/** Contract of `rope_cache.wgsl`. */
export const ROPE_CACHE_CONTRACT = {
  name: "rope_cache",
  wgsl,
  bindings: {
    state: "read u32",
    rotation: "read f32",
    q_norm: "read f32",
    k_norm: "read f32",
    center: "read f32",
    qkv: "write f32",
    keys: "write u32",
    values: "write u32",
  },
  constants: { WORKGROUP_SIZE, HEAD_DIM: 64, KEY_BITS: 16, VALUE_BITS: 16, TILE: 1 },
  params: {
    rows: "u32",
    rows_per_sequence: "u32",
    capacity: "u32",
    stride: "u32",
    query_heads: "u32",
    kv_heads: "u32",
    has_norm: "u32",
    epsilon: "f32",
    write_capacity: "u32",
    write_slot: "u32",
    first_head: "u32",
    heads: "u32",
    query_rotation: "u32",
    has_center: "u32",
  },
  workgroupBytes: 4 * (WORKGROUP_SIZE + TILE),
} as const;

/** Contract and twin of `rope_cache.wgsl`. */
export const ropeCache: Kernel<typeof ROPE_CACHE_CONTRACT> = defineKernel(
  ROPE_CACHE_CONTRACT,
  rotateAndStore,
  {
    module: CPU_MODULE,
    passes: ({ params, constants }) => [{
      entry: "rope_cache",
      items: params.rows * params.heads,
      work: 2 * constants.HEAD_DIM,
    }],
    threadBytes: ({ constants }) => 4 * constants.HEAD_DIM,
  },
);

function rotateAndStore(run: KernelRun<typeof ROPE_CACHE_CONTRACT>): void {
  const { buffers, constants, params } = run;
  const { query_heads, kv_heads, capacity, write_capacity, write_slot, first_head, heads } = params;
  const { HEAD_DIM: headDim } = constants;
  const keys = rowWriter(buffers.keys, constants.KEY_BITS);
  const values = rowWriter(buffers.values, constants.VALUE_BITS);
  for (let row = 0; row < params.rows; row++) {
    const { sequence, position } = rowPlace({ buffers, params }, row);
    if (position >= capacity) continue;
    for (let head = first_head; head < first_head + heads; head++) {
      const first = row * params.stride + head * headDim;
      const input = buffers.qkv.subarray(first, first + headDim);
      const isQuery = head < query_heads;
      if (isQuery) {
        input.set(
          rotateHead(
            normalizeHead(input, buffers.q_norm, params),
            params.query_rotation + position,
            buffers.rotation,
          ),
        );
        continue;
      }
      const kvHead = (head - query_heads) % kv_heads;
      const own = write_slot === NOT_FIXED ? position % write_capacity : write_slot;
      const slot = (sequence * kv_heads + kvHead) * write_capacity + own;
      if (head >= query_heads + kv_heads) values(input, slot);
      else {
        const normal = normalizeHead(input, buffers.k_norm, params);
        const rotated = rotateHead(normal, position, buffers.rotation);
        const center = params.has_center === 1
          ? buffers.center.subarray(kvHead * headDim, (kvHead + 1) * headDim)
          : [];
        keys(rotated.map((value, i) => value - (center[i] ?? 0)), slot);
      }
    }
  }
}

/** Writes head vectors in the format of a cache. */
function rowWriter(
  words: Uint32Array,
  bits: number,
): (vector: Float32Array | Float64Array, slot: number) => void {
  if (bits < 16) {
    return (vector, slot) => {
      const row = quantizeRow(vector, bits);
      words.set(row, slot * row.length);
    };
  }
  const stored = unpackStored(words, bits === 32 ? "f32" : "f16");
  return (vector, slot) => stored.set(vector, slot * vector.length);
}

function normalizeHead(
  input: Float32Array,
  weight: Float32Array,
  params: { readonly has_norm: number; readonly epsilon: number },
): Float64Array {
  const values = Float64Array.from(input);
  if (params.has_norm !== 1) return values;
  const squares = values.reduce((sum, value) => sum + value * value, 0);
  const factor = 1 / Math.sqrt(squares / values.length + params.epsilon);
  return values.map((value, i) => value * factor * weight[i]!);
}

/**
 * Rotates a head in float64; pairs of elements are half a head apart.
 *
 * @param input Elements of the head.
 * @param position Row of `rotation`: the position to rotate to.
 * @param rotation Cosines and sines of each position, [_, headDim].
 * @returns The rotated head.
 */
export function rotateHead(
  input: Float64Array,
  position: number,
  rotation: Float32Array,
): Float64Array {
  const half = input.length / 2;
  return input.map((value, i) => {
    const cosine = rotation[position * input.length + i % half]!;
    const sine = rotation[position * input.length + half + i % half]!;
    return i < half ? value * cosine - input[i + half]! * sine : value * cosine +
      input[i - half]! * sine;
  });
}

/** Where keys and values go, if not to the slots of their positions. */
export interface WritePlace {
  /** Head vectors that `keys` and `values` have room for per KV head. */
  readonly capacity: number;
  /** Which of them is written. */
  readonly slot: number;
}

/** Sizes of a step. */
export interface RopeCacheShape extends Omit<AttentionShape, "outputStride"> {
  /** Added to the mean square of a head; needed with norm weights. */
  readonly epsilon?: number;
  /** Slot for the only new token of each sequence; that of its position if left out. */
  readonly write?: WritePlace;
  /**
   * Row of `rotation` for a query at position 0, where queries are scaled by position: rows from there on hold cosines and
   * sines times the scale. 0 if left out, so that queries turn as keys do.
   */
  readonly queryRotation?: number;
  /** Whether keys alone are rotated and written, as for a second copy in another format; false if left out. */
  readonly isKeysOnly?: boolean;
  /** Whether values are written; true if left out. */
  readonly hasValues?: boolean;
}

/** Heads of a row that are processed. */
function headRange(
  { queryHeads, kvHeads, isKeysOnly, hasValues = true }: Pick<
    RopeCacheShape,
    "queryHeads" | "kvHeads" | "isKeysOnly" | "hasValues"
  >,
): { readonly first_head: number; readonly heads: number } {
  if (isKeysOnly) return { first_head: queryHeads, heads: kvHeads };
  return { first_head: 0, heads: queryHeads + (hasValues ? 2 : 1) * kvHeads };
}

/** Parameters that say where keys and values go. */
function writeParams(
  { write, capacity, ring, rowsPerSequence }: RopeCacheShape,
): { readonly write_capacity: number; readonly write_slot: number } {
  if (!write) return { write_capacity: ring ?? capacity, write_slot: NOT_FIXED };
  const action = "write to one slot";
  checkInteger(action, "rowsPerSequence", { value: rowsPerSequence, min: 1, max: 1 });
  checkInteger(action, "slot", { value: write.slot, min: 0, max: write.capacity - 1 });
  return { write_capacity: write.capacity, write_slot: write.slot };
}

/**
 * Buffers of `rope_cache`; see the header of its WGSL. Models without QK norms leave out the norm weights, and what stores
 * keys as they are the center.
 */
export type RopeCacheBuffers =
  & Omit<DispatchBuffers<typeof ROPE_CACHE_CONTRACT>, "q_norm" | "k_norm" | "center">
  & Partial<Pick<DispatchBuffers<typeof ROPE_CACHE_CONTRACT>, "q_norm" | "k_norm" | "center">>;

/**
 * Prepares the rotation and cache write of a step.
 *
 * @param buffers What it reads and writes; with both norm weights or none.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If the head size is not supported, rows are shorter than their heads, or several new tokens of
 *   a sequence would go to one slot.
 * @throws {RequirementError} If only one of the norm weights is given.
 */
export function ropeCacheCommand(buffers: RopeCacheBuffers, shape: RopeCacheShape): Command {
  const action = "rotate heads";
  const { headDim, queryHeads, kvHeads, stride, sequences, rowsPerSequence } = shape;
  const heads = queryHeads + 2 * kvHeads;
  const { state, rotation, q_norm, k_norm, center, qkv, keys, values } = buffers;
  checkInteger(action, "headDim / 4", { value: headDim / 4, min: 1, max: WORKGROUP_SIZE });
  const isRounded = Math.min(kvBits(shape.keyFormat), kvBits(shape.valueFormat)) < 16;
  if (isRounded) checkInteger(action, "headDim / 8", { value: headDim / 8, min: 1 });
  checkInteger(action, "stride / 2", { value: stride / 2, min: heads * headDim / 2 });
  if ((q_norm === undefined) !== (k_norm === undefined)) {
    throw new RequirementError({
      action,
      requirement: "q_norm and k_norm must be given together",
      current: "one of them",
    });
  }
  return dispatch({
    kernel: ropeCache,
    buffers: {
      state,
      rotation,
      q_norm: q_norm ?? rotation,
      k_norm: k_norm ?? rotation,
      center: center ?? rotation,
      qkv,
      keys,
      values,
    },
    constants: {
      HEAD_DIM: headDim,
      KEY_BITS: kvBits(shape.keyFormat),
      VALUE_BITS: kvBits(shape.valueFormat),
      TILE: isRounded ? TILE : 1,
    },
    params: {
      rows: sequences * rowsPerSequence,
      rows_per_sequence: rowsPerSequence,
      capacity: shape.capacity,
      stride,
      query_heads: queryHeads,
      kv_heads: kvHeads,
      has_norm: q_norm === undefined ? 0 : 1,
      epsilon: shape.epsilon ?? 0,
      ...writeParams(shape),
      ...headRange(shape),
      query_rotation: shape.queryRotation ?? 0,
      has_center: center === undefined ? 0 : 1,
    },
    grid: ropeCacheGrid(shape),
  });
}

/**
 * Counts the workgroups of `rope_cache`.
 *
 * @param shape Sizes of the step.
 * @returns Groups of heads, rows, 1.
 */
export function ropeCacheGrid(
  shape: Pick<
    RopeCacheShape,
    | "headDim"
    | "hasValues"
    | "isKeysOnly"
    | "kvHeads"
    | "queryHeads"
    | "rowsPerSequence"
    | "sequences"
  >,
): [number, number, number] {
  const groupHeads = Math.floor(WORKGROUP_SIZE / (shape.headDim / 4));
  const { heads } = headRange(shape);
  return [Math.ceil(heads / groupHeads), shape.sequences * shape.rowsPerSequence, 1];
}
