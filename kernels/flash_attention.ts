/**
 * Attention of a step's rows to the cached keys and values, without storing scores: contract, variants and twin.
 *
 * @see {@link https://arxiv.org/abs/2205.14135 | FlashAttention}, the online softmax.
 * @module
 */

import { type Command, type DeviceBuffer, type DeviceInfo, dispatch } from "../gpu/device.ts";
import type { BufferWindow } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelContract, type KernelRun } from "../gpu/kernel.ts";
import {
  ATTENTION_PARAMS,
  attentionParams,
  type AttentionShape,
  checkHeadDim,
  headStart,
  logSumExp,
  rowPlace,
  rowScores,
  unpackHalves,
} from "./attention_input.ts";
import { type HandOut, handOut, tileBytes, variantName } from "./attention_wgsl.ts";
import { flashText } from "./flash_attention_wgsl.ts";

const BINDINGS = {
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
  readonly bindings: typeof BINDINGS;
  /** There are none: sizes that matter are written into the text. */
  readonly constants: Record<never, number>;
  /** Sizes and flags. */
  readonly params: typeof ATTENTION_PARAMS;
}

/** Buffers that an attention kernel reads. */
export interface AttentionInputBuffers {
  /** First sequence of the step, then the cached tokens of each sequence, u32. */
  readonly state: DeviceBuffer | BufferWindow;
  /** Rows of query, key and value heads, f32 [rows, stride]. */
  readonly qkv: DeviceBuffer | BufferWindow;
  /** Packed halves [sequences, kvHeads, capacity, headDim / 2]. */
  readonly keys: DeviceBuffer | BufferWindow;
  /** Bit set of visible positions, u32 [queryHeads, ceil(capacity / 32)]; read only with `isMasked`. */
  readonly visible?: DeviceBuffer | BufferWindow;
}

/** Buffers of `flash_attention`. */
export interface FlashAttentionBuffers extends AttentionInputBuffers {
  /** Packed halves, as `keys`. */
  readonly values: DeviceBuffer | BufferWindow;
  /** Attention output, f32 [rows, outputStride], heads side by side. */
  readonly output: DeviceBuffer | BufferWindow;
  /** Log-sum-exp of each row's scores, f32 [queryHeads, rows]. */
  readonly log_sum: DeviceBuffer | BufferWindow;
}

/** Query rows of one workgroup. */
interface FlashTile {
  readonly laneRows: number;
  readonly keys: number;
  readonly tileKeys: number;
}

function flashTile(headDim: number, lanes: HandOut): FlashTile {
  if (lanes.isSubgroup) return { laneRows: 1, keys: 4, tileKeys: 4 };
  return { laneRows: 1, keys: 4, tileKeys: headDim > 128 ? 8 : 16 };
}

/**
 * Makes the variant of a kernel for a head size and a device.
 *
 * @param headDim Elements of a head.
 * @param subgroupSize Lanes of a subgroup, 0 where there are none.
 * @returns The kernel.
 * @throws {RangeError} If there is no variant for the head size.
 */
export function flashAttention(
  headDim: number,
  subgroupSize: number,
): Kernel<FlashAttentionContract> {
  checkHeadDim(headDim);
  const lanes = handOut(subgroupSize);
  const name = variantName("flash_attention", { headDim, handOut: lanes });
  const tile = flashTile(headDim, lanes);
  const contract: FlashAttentionContract = {
    name,
    wgsl: flashText({
      name,
      headDim,
      handOut: lanes,
      ...tile,
      bindings: BINDINGS,
      params: ATTENTION_PARAMS,
      isSplit: false,
    }),
    bindings: BINDINGS,
    constants: {},
    params: ATTENTION_PARAMS,
    ...keyValueMemory({ headDim, tileKeys: tile.tileKeys, lanes }),
  };
  return defineKernel(contract, (run) => flashAttentionReference(run, headDim));
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
  const tile = { name: "", count: tileKeys, pieces: headDim / 8, isHalves: true, load: "" };
  return { workgroupBytes: 2 * tileBytes(tile) };
}

function flashAttentionReference(run: KernelRun<FlashAttentionContract>, headDim: number): void {
  const { buffers, params } = run;
  const values = unpackHalves(buffers.values);
  for (let row = 0; row < params.rows; row++) {
    const { sequence } = rowPlace(run, row);
    for (let head = 0; head < params.query_heads; head++) {
      const scores = rowScores(run, { row, head, headDim });
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
  info: DeviceInfo,
  options: { readonly shape: AttentionShape; readonly buffers: FlashAttentionBuffers },
): Command {
  const { shape, buffers } = options;
  const kernel = flashAttention(shape.headDim, info.subgroupSize);
  return dispatch({
    kernel,
    buffers: { ...buffers, visible: buffers.visible ?? buffers.state },
    params: attentionParams(shape),
    grid: flashAttentionGrid(shape, info.subgroupSize),
  });
}

/**
 * Counts the workgroups of `flash_attention`.
 *
 * @param shape Sizes of the step.
 * @param subgroupSize Lanes of a subgroup, 0 where there are none.
 * @returns Tiles of rows, KV heads, sequences.
 */
export function flashAttentionGrid(
  shape: AttentionShape,
  subgroupSize: number,
): [number, number, number] {
  const lanes = handOut(subgroupSize);
  const rows = shape.rowsPerSequence * shape.queryHeads / shape.kvHeads;
  const tileRows = lanes.lanes * flashTile(shape.headDim, lanes).laneRows;
  return [Math.ceil(rows / tileRows), shape.kvHeads, shape.sequences];
}

/** Variants for the tests that compare contracts with WGSL. */
export function contractSamples(): Kernel<FlashAttentionContract>[] {
  return [flashAttention(64, 8), flashAttention(64, 0), flashAttention(128, 8)];
}
