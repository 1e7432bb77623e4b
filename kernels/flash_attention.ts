/**
 * Attention of a step's rows to the cached keys and values, without storing scores: contract, variants and twin.
 *
 * @see {@link https://arxiv.org/abs/2205.14135 | FlashAttention}, the online softmax.
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
  type AttentionInputBuffers,
  attentionParams,
  type AttentionShape,
  checkHeadDim,
  headStart,
  inputBuffers,
  type KeyFormat,
  logSumExp,
  rowPlace,
  rowScores,
  unpackKeys,
} from "./attention_input.ts";
import { type HandOut, handOut, tileBytes, variantName } from "./attention_wgsl.ts";
import { flashText } from "./flash_attention_wgsl.ts";

/** Storage buffers of `flash_attention`. */
export const FLASH_ATTENTION_BINDINGS = {
  state: "read u32",
  qkv: "read f32",
  keys: "read u32",
  values: "read u32",
  visible: "read u32",
  output: "write f32",
  log_sum: "write f32",
} as const;

/** Contract of every variant of `flash_attention`. */
export interface FlashAttentionContract extends KernelContract {
  /** Storage buffers. */
  readonly bindings: typeof FLASH_ATTENTION_BINDINGS;
  /** There are none: sizes that matter are written into the text. */
  readonly constants: Record<never, number>;
  /** Sizes and flags. */
  readonly params: typeof ATTENTION_PARAMS;
}

/** Buffers of `flash_attention`. */
export interface FlashAttentionBuffers extends AttentionInputBuffers {
  /** Packed halves [sequences, kvHeads, capacity, headDim / 2]. */
  readonly values: DeviceBuffer | BufferWindow;
  /** Attention output, f32 [rows, outputStride], heads side by side. */
  readonly output: DeviceBuffer | BufferWindow;
  /** Log-sum-exp of each row's scores, f32 [queryHeads, rows]. */
  readonly log_sum: DeviceBuffer | BufferWindow;
}

/** How much one workgroup does at a time. */
export interface FlashTile {
  /** Query rows of each lane. */
  readonly laneRows: number;
  /** Keys between two rescalings. */
  readonly keys: number;
  /** Keys loaded together. */
  readonly tileKeys: number;
}

/**
 * Chooses the tile that was fastest on the software adapter.
 *
 * @param headDim Elements of a head.
 * @param options How vectors are handed out, and the rows of a KV head.
 * @returns The tile.
 */
export function flashTile(
  headDim: number,
  options: { readonly lanes: HandOut; readonly rows: number },
): FlashTile {
  const { lanes, rows } = options;
  if (!lanes.isSubgroup) return { laneRows: 1, keys: 2, tileKeys: headDim > 128 ? 8 : 16 };
  if (rows <= lanes.lanes) return { laneRows: 1, keys: 4, tileKeys: 4 };
  const keys = headDim > 80 ? 2 : 4;
  return { laneRows: 2, keys, tileKeys: keys };
}

/** What a variant is made for. */
export interface FlashVariant {
  /** Elements of a head. */
  readonly headDim: number;
  /** Lanes of a subgroup, 0 where there are none. */
  readonly subgroupSize: number;
  /** Rows of a KV head: new tokens times query heads of the group. */
  readonly rows: number;
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
export function flashAttention(variant: FlashVariant): Kernel<FlashAttentionContract> {
  const { headDim, subgroupSize, rows, keyFormat, valueFormat } = variant;
  checkHeadDim(headDim);
  const lanes = handOut(subgroupSize);
  const tile = flashTile(headDim, { lanes, rows });
  const stem = tile.laneRows > 1 ? "flash_attention_rows" : "flash_attention";
  const name = variantName(stem, { headDim, handOut: lanes, keyFormat, valueFormat });
  const contract: FlashAttentionContract = {
    name,
    wgsl: flashText({
      name,
      headDim,
      handOut: lanes,
      keyFormat,
      valueFormat,
      ...tile,
      bindings: FLASH_ATTENTION_BINDINGS,
      params: ATTENTION_PARAMS,
      isSplit: false,
    }),
    bindings: FLASH_ATTENTION_BINDINGS,
    constants: {},
    params: ATTENTION_PARAMS,
    ...keyValueMemory({ headDim, tileKeys: tile.tileKeys, lanes }),
  };
  return defineKernel(contract, (run) => flashAttentionReference(run, variant));
}

/**
 * States what a kernel with tiles of keys and values needs of a device.
 *
 * @param options Head size, keys of a tile, and how tiles are handed out.
 * @returns Fields of a contract.
 */
export function keyValueMemory(
  options: { readonly headDim: number; readonly tileKeys: number; readonly lanes: HandOut },
): Pick<KernelContract, "subgroupSize" | "workgroupBytes"> {
  const { headDim, tileKeys, lanes } = options;
  if (lanes.isSubgroup) return { subgroupSize: lanes.lanes };
  return {
    workgroupBytes: 2 * tileBytes({ count: tileKeys, pieces: headDim / 8, isHalves: true }),
  };
}

function flashAttentionReference(
  run: KernelRun<FlashAttentionContract>,
  variant: Pick<FlashVariant, "headDim" | "keyFormat" | "valueFormat">,
): void {
  const { buffers, params } = run;
  const { headDim } = variant;
  const values = unpackKeys(buffers.values, variant.valueFormat);
  for (let row = 0; row < params.rows; row++) {
    const { sequence } = rowPlace(run, row);
    for (let head = 0; head < params.query_heads; head++) {
      const scores = rowScores(run, { row, head, ...variant });
      const logSum = logSumExp(scores);
      const first = headStart(run, { sequence, head, headDim });
      const output = new Float64Array(headDim);
      scores.forEach((score, key) => {
        const attention = Math.exp(score - logSum);
        for (let i = 0; i < headDim; i++) {
          output[i]! += attention * values[first + key * headDim + i]!;
        }
      });
      buffers.output.set(output, row * params.output_stride + head * headDim);
      buffers.log_sum[head * params.rows + row] = logSum;
    }
  }
}

/**
 * Prepares attention of a step of any number of rows.
 *
 * @param info The device, for the choice of the variant.
 * @param options Buffers and sizes.
 * @returns The command.
 * @throws {RangeError} If the sizes do not fit together.
 */
export function flashAttentionCommand(
  info: Pick<DeviceInfo, "subgroupSize">,
  options: { readonly shape: AttentionShape; readonly buffers: FlashAttentionBuffers },
): Command {
  const { shape, buffers } = options;
  const params = attentionParams(shape);
  const variant = flashVariant(info, shape);
  return dispatch({
    kernel: flashAttention(variant),
    buffers: {
      ...inputBuffers(buffers),
      values: buffers.values,
      output: buffers.output,
      log_sum: buffers.log_sum,
    },
    params,
    grid: flashAttentionGrid(shape, variant),
  });
}

/**
 * Says which variant a step takes.
 *
 * @param info The device.
 * @param shape Sizes of the step.
 * @returns The variant.
 */
export function flashVariant(
  info: Pick<DeviceInfo, "subgroupSize">,
  shape: AttentionShape,
): FlashVariant {
  const rows = shape.rowsPerSequence * shape.queryHeads / shape.kvHeads;
  const { headDim, keyFormat, valueFormat } = shape;
  return { headDim, subgroupSize: info.subgroupSize, rows, keyFormat, valueFormat };
}

/**
 * Counts the workgroups of `flash_attention`.
 *
 * @param shape Sizes of the step.
 * @param variant The variant it takes.
 * @returns Tiles of rows, KV heads, sequences.
 */
export function flashAttentionGrid(
  shape: AttentionShape,
  variant: FlashVariant,
): [number, number, number] {
  const lanes = handOut(variant.subgroupSize);
  const { laneRows } = flashTile(variant.headDim, { lanes, rows: variant.rows });
  return [Math.ceil(variant.rows / (lanes.lanes * laneRows)), shape.kvHeads, shape.sequences];
}

/** Variants for the tests that compare contracts with WGSL. */
export function flashAttentionSamples(): Kernel<FlashAttentionContract>[] {
  return [
    flashAttention({ headDim: 64, subgroupSize: 8, rows: 7 }),
    flashAttention({ headDim: 128, subgroupSize: 8, rows: 896 }),
    flashAttention({ headDim: 64, subgroupSize: 0, rows: 7 }),
    flashAttention({ headDim: 64, subgroupSize: 8, rows: 896, keyFormat: "f32" }),
    flashAttention({ headDim: 64, subgroupSize: 0, rows: 7, keyFormat: "f32" }),
    flashAttention({ headDim: 64, subgroupSize: 0, rows: 7, valueFormat: "f32" }),
    flashAttention({
      headDim: 64,
      subgroupSize: 8,
      rows: 896,
      keyFormat: "f32",
      valueFormat: "f32",
    }),
  ];
}
