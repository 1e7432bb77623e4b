/**
 * Attention of few rows to many keys: splits of the keys go to different workgroups, then their parts are merged.
 *
 * @see {@link https://pytorch.org/blog/flash-decoding | Flash-Decoding}
 * @module
 */

import {
  type BufferWindow,
  type Command,
  type DeviceBuffer,
  type DeviceInfo,
  dispatch,
} from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelContract, type KernelRun } from "../gpu/kernel.ts";
import {
  ATTENTION_PARAMS,
  attentionParams,
  type AttentionShape,
  checkHeadDim,
  headStart,
  inputBuffers,
  type KeyFormat,
  rowPlace,
  rowScores,
  unpackKeys,
} from "./attention_input.ts";
import { handOut, variantName } from "./attention_wgsl.ts";
import { decodeAttentionMerge } from "./decode_attention_merge.ts";
import {
  type FlashAttentionBuffers,
  flashAttentionCommand,
  type FlashTile,
  keyValueMemory,
} from "./flash_attention.ts";
import { flashText } from "./flash_attention_wgsl.ts";

/** Storage buffers of `decode_attention`. */
export const DECODE_ATTENTION_BINDINGS = {
  state: "read u32",
  qkv: "read f32",
  keys: "read u32",
  values: "read u32",
  visible: "read u32",
  partial: "write f32",
} as const;

/** Fields of `Params` of `decode_attention`. */
export const DECODE_ATTENTION_PARAMS = { ...ATTENTION_PARAMS, splits: "u32" } as const;

/** Keys of the shortest split; fewer do not pay for the merge. */
const SPLIT_KEYS = 64;

/** Most splits of a sequence's keys. */
const MAX_SPLITS = 32;

/** Contract of every variant of `decode_attention`. */
export interface DecodeAttentionContract extends KernelContract {
  /** Storage buffers. */
  readonly bindings: typeof DECODE_ATTENTION_BINDINGS;
  /** There are none: sizes that matter are written into the text. */
  readonly constants: Record<never, number>;
  /** Sizes, flags and the number of splits. */
  readonly params: typeof DECODE_ATTENTION_PARAMS;
}

function decodeTile(headDim: number, isSubgroup: boolean): FlashTile {
  return isSubgroup
    ? { laneRows: 1, keys: 4, tileKeys: 4 }
    : { laneRows: 1, keys: 2, tileKeys: headDim > 128 ? 8 : 16 };
}

/** What a variant is made for. */
export interface DecodeVariant {
  /** Elements of a head. */
  readonly headDim: number;
  /** Lanes of a subgroup, 0 where there are none. */
  readonly subgroupSize: number;
  /** How keys are stored; `f16` if left out. */
  readonly keyFormat?: KeyFormat | undefined;
  /** How values are stored; `f16` if left out. */
  readonly valueFormat?: KeyFormat | undefined;
}

/**
 * Makes a variant of the kernel.
 *
 * @param variant What it is made for.
 * @returns The kernel.
 * @throws {RangeError} If there is no variant for the head size.
 */
export function decodeAttention(variant: DecodeVariant): Kernel<DecodeAttentionContract> {
  const { headDim, subgroupSize, keyFormat, valueFormat } = variant;
  checkHeadDim(headDim);
  const lanes = handOut(subgroupSize);
  const name = variantName("decode_attention", { headDim, handOut: lanes, keyFormat, valueFormat });
  const tile = decodeTile(headDim, lanes.isSubgroup);
  const contract: DecodeAttentionContract = {
    name,
    wgsl: flashText({
      name,
      headDim,
      handOut: lanes,
      keyFormat,
      valueFormat,
      ...tile,
      bindings: DECODE_ATTENTION_BINDINGS,
      params: DECODE_ATTENTION_PARAMS,
      isSplit: true,
    }),
    bindings: DECODE_ATTENTION_BINDINGS,
    constants: {},
    params: DECODE_ATTENTION_PARAMS,
    ...keyValueMemory({ headDim, tileKeys: tile.tileKeys, lanes }),
  };
  const tileRows = lanes.lanes * tile.laneRows;
  return defineKernel(
    contract,
    (run) => decodeAttentionReference(run, { ...variant, tileRows, tileKeys: tile.tileKeys }),
  );
}

/** Sizes that decide which keys belong to a split. */
interface SplitSizes extends Pick<DecodeVariant, "headDim" | "keyFormat" | "valueFormat"> {
  readonly tileRows: number;
  readonly tileKeys: number;
}

function decodeAttentionReference(
  run: KernelRun<DecodeAttentionContract>,
  sizes: SplitSizes,
): void {
  const { buffers, params } = run;
  const { headDim, keyFormat } = sizes;
  const values = unpackKeys(buffers.values, sizes.valueFormat);
  for (let row = 0; row < params.rows; row++) {
    const { sequence } = rowPlace(run, row);
    for (let head = 0; head < params.query_heads; head++) {
      const scores = rowScores(run, { row, head, headDim, keyFormat });
      const first = headStart(run, { sequence, head, headDim });
      const length = splitLength(run, { row, head, sizes });
      for (let split = 0; split < params.splits; split++) {
        const part = new Float64Array(headDim + 4);
        part[0] = -3.4e38;
        const range = scores.subarray(split * length, (split + 1) * length);
        for (const score of range) part[0] = Math.max(part[0], score * Math.LOG2E);
        range.forEach((score, index) => {
          const weight = 2 ** (score * Math.LOG2E - part[0]!);
          const value = first + (split * length + index) * headDim;
          part[1]! += weight;
          for (let i = 0; i < headDim; i++) part[4 + i]! += weight * values[value + i]!;
        });
        const index = (split * params.rows + row) * params.query_heads + head;
        buffers.partial.set(part, index * (headDim + 4));
      }
    }
  }
}

/** All rows of a workgroup cut their keys at the same places, those of the last row. */
function splitLength(
  run: KernelRun<DecodeAttentionContract>,
  at: { readonly row: number; readonly head: number; readonly sizes: SplitSizes },
): number {
  const { params } = run;
  const { tileRows, tileKeys } = at.sizes;
  const groupSize = params.query_heads / params.kv_heads;
  const token = at.row % params.rows_per_sequence;
  const own = token * groupSize + at.head % groupSize;
  const tileEnd = Math.floor(own / tileRows) * tileRows + tileRows;
  const lastRow = Math.min(tileEnd, params.rows_per_sequence * groupSize) - 1;
  const start = rowPlace(run, at.row).position - token;
  const seen = Math.min(start + Math.floor(lastRow / groupSize) + 1, params.capacity);
  return Math.ceil(seen / (params.splits * tileKeys)) * tileKeys;
}

/** Buffers of the two kernels of decode attention. */
export interface DecodeAttentionBuffers extends FlashAttentionBuffers {
  /** Scratch of `decodePartialBytes` bytes; not needed where keys are not split. */
  readonly partial?: DeviceBuffer | BufferWindow;
}

/**
 * Chooses into how many parts the keys are split.
 *
 * A software adapter has few cores, which the KV heads keep busy; a split would only add a dispatch.
 *
 * @param info The device.
 * @param capacity Positions that the cache has room for.
 * @returns The number of splits, 1 for none.
 */
export function decodeSplits(info: Pick<DeviceInfo, "isSoftware">, capacity: number): number {
  if (info.isSoftware) return 1;
  return Math.min(MAX_SPLITS, Math.ceil(capacity / SPLIT_KEYS));
}

/**
 * Counts the bytes of the scratch buffer of decode attention.
 *
 * @param info The device.
 * @param shape Sizes of the step.
 * @returns Bytes, 0 where keys are not split.
 */
export function decodePartialBytes(
  info: Pick<DeviceInfo, "isSoftware">,
  shape: AttentionShape,
): number {
  const splits = decodeSplits(info, shape.capacity);
  return splits === 1 ? 0 : partialBytes(shape, splits);
}

/** Bytes of the parts of a step. */
function partialBytes(shape: AttentionShape, splits: number): number {
  const rows = shape.sequences * shape.rowsPerSequence;
  return 4 * splits * rows * shape.queryHeads * (shape.headDim + 4);
}

/**
 * Prepares attention of a decode step.
 *
 * @param info The device, for the choice of the variant.
 * @param options Buffers and sizes; `splits` overrides the choice of `decodeSplits`.
 * @returns One command, or two where keys are split.
 * @throws {RangeError} If the sizes do not fit together.
 * @throws {TypeError} If keys are split and `partial` is missing.
 */
export function decodeAttentionCommands(
  info: Pick<DeviceInfo, "isSoftware" | "subgroupSize">,
  options: {
    readonly shape: AttentionShape;
    readonly buffers: DecodeAttentionBuffers;
    readonly splits?: number;
  },
): Command[] {
  const { shape, buffers } = options;
  const splits = options.splits ?? decodeSplits(info, shape.capacity);
  const { partial, output, log_sum, values } = buffers;
  if (splits === 1) {
    return [flashAttentionCommand(info, { shape, buffers })];
  }
  if (partial === undefined) {
    throw new TypeError(
      `Cannot compute attention: "partial" must have ${
        partialBytes(shape, splits)
      } bytes: current value is undefined`,
    );
  }
  const rows = shape.sequences * shape.rowsPerSequence;
  return [
    dispatch({
      kernel: decodeAttention({ ...shape, subgroupSize: info.subgroupSize }),
      buffers: { ...inputBuffers(buffers), values, partial },
      params: { ...attentionParams(shape), splits },
      grid: decodeAttentionGrid(shape, { splits, subgroupSize: info.subgroupSize }),
    }),
    dispatch({
      kernel: decodeAttentionMerge,
      buffers: { partial, output, log_sum },
      constants: { HEAD_DIM: shape.headDim },
      params: {
        rows,
        query_heads: shape.queryHeads,
        output_stride: shape.outputStride,
        splits,
      },
      grid: [rows, shape.queryHeads, 1],
    }),
  ];
}

/**
 * Counts the workgroups of `decode_attention`.
 *
 * @param shape Sizes of the step.
 * @param options Splits, and lanes of a subgroup (0 where there are none).
 * @returns Splits; tiles of rows times KV heads; sequences.
 */
export function decodeAttentionGrid(
  shape: AttentionShape,
  options: { readonly splits: number; readonly subgroupSize: number },
): [number, number, number] {
  const { lanes } = handOut(options.subgroupSize);
  const rows = shape.rowsPerSequence * shape.queryHeads / shape.kvHeads;
  return [options.splits, Math.ceil(rows / lanes) * shape.kvHeads, shape.sequences];
}

/** Variants for the tests that compare contracts with WGSL. */
export function decodeAttentionSamples(): Kernel<DecodeAttentionContract>[] {
  return [
    decodeAttention({ headDim: 64, subgroupSize: 8 }),
    decodeAttention({ headDim: 128, subgroupSize: 0 }),
    decodeAttention({ headDim: 64, subgroupSize: 0, keyFormat: "f32" }),
  ];
}
