/**
 * Attention that every key has received, summed over rows without storing an attention map: contract and twin.
 *
 * The second pass of two; the first is `flash_attention`, which leaves the log-sum-exp of each row.
 *
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
import { columnsText, queryTile } from "./attention_columns_wgsl.ts";
import {
  ATTENTION_PARAMS,
  attentionParams,
  type AttentionShape,
  checkHeadDim,
  rowPlace,
  rowScores,
} from "./attention_input.ts";
import { type HandOut, handOut, tileBytes, variantName } from "./attention_wgsl.ts";
import { type AttentionInputBuffers, inputBuffers } from "./flash_attention.ts";

const BINDINGS = {
  state: "read u32",
  qkv: "read f32",
  keys: "read u32",
  log_sum: "read f32",
  visible: "read u32",
  sums: "write f32",
} as const;

/** Most workgroups along x; each takes every so many blocks of keys, so that an empty cache costs little. */
const MAX_STRIPES = 32;

/** Contract of every variant of `attention_sums`. */
export interface AttentionSumsContract extends KernelContract {
  /** Storage buffers. */
  readonly bindings: typeof BINDINGS;
  /** There are none: sizes that matter are written into the text. */
  readonly constants: Record<never, number>;
  /** Sizes and flags. */
  readonly params: typeof ATTENTION_PARAMS;
}

/** Buffers of `attention_sums`. */
export interface AttentionSumsBuffers extends AttentionInputBuffers {
  /** Log-sum-exp of each row's scores, f32 [queryHeads, rows]. */
  readonly log_sum: DeviceBuffer | BufferWindow;
  /** Attention received so far, f32 [sequences, queryHeads, capacity]. */
  readonly sums: DeviceBuffer | BufferWindow;
}

/** What a variant is made for. */
export interface ColumnsVariant {
  /** Elements of a head. */
  readonly headDim: number;
  /** Lanes of a subgroup, 0 where there are none. */
  readonly subgroupSize: number;
  /** New tokens of each sequence. */
  readonly rowsPerSequence: number;
}

/** How much one workgroup of a kernel whose lanes own keys does at a time. */
export interface ColumnsTile {
  /** Keys of each lane. */
  readonly laneKeys: number;
  /** Queries loaded together. */
  readonly tileRows: number;
}

/**
 * Chooses the tile that was fastest on the software adapter.
 *
 * @param variant What a kernel is made for.
 * @param lanes How queries are handed out.
 * @returns The tile.
 */
export function columnsTile(variant: ColumnsVariant, lanes: HandOut): ColumnsTile {
  if (!lanes.isSubgroup) return { laneKeys: 1, tileRows: variant.rowsPerSequence < 4 ? 1 : 4 };
  return variant.rowsPerSequence < 4 ? { laneKeys: 2, tileRows: 1 } : { laneKeys: 4, tileRows: 2 };
}

/**
 * States what a kernel with a tile of queries needs of a device.
 *
 * @param variant What the kernel is made for.
 * @param lanes How queries are handed out.
 * @returns Fields of a contract.
 */
export function queryMemory(
  variant: ColumnsVariant,
  lanes: HandOut,
): Pick<KernelContract, "subgroupSize" | "workgroupBytes"> {
  if (lanes.isSubgroup) return { subgroupSize: lanes.lanes };
  const { tileRows } = columnsTile(variant, lanes);
  return { workgroupBytes: tileBytes(queryTile({ ...variant, tileRows })) + 4 * tileRows };
}

/**
 * Makes a variant of the kernel.
 *
 * @param variant What it is made for.
 * @returns The kernel.
 * @throws {RangeError} If there is no variant for the head size.
 */
export function attentionSums(variant: ColumnsVariant): Kernel<AttentionSumsContract> {
  const { headDim } = variant;
  checkHeadDim(headDim);
  const lanes = handOut(variant.subgroupSize);
  const tile = columnsTile(variant, lanes);
  const stem = tile.tileRows > 1 ? "attention_sums_rows" : "attention_sums";
  const name = variantName(stem, { headDim, handOut: lanes });
  const contract: AttentionSumsContract = {
    name,
    wgsl: columnsText({
      name,
      headDim,
      handOut: lanes,
      ...tile,
      bindings: BINDINGS,
      params: ATTENTION_PARAMS,
      isMap: false,
    }),
    bindings: BINDINGS,
    constants: {},
    params: ATTENTION_PARAMS,
    ...queryMemory(variant, lanes),
  };
  return defineKernel(contract, (run) => attentionSumsReference(run, headDim));
}

function attentionSumsReference(run: KernelRun<AttentionSumsContract>, headDim: number): void {
  const { buffers: { log_sum, sums }, params } = run;
  const { rows, rows_per_sequence, query_heads, capacity } = params;
  for (let head = 0; head < query_heads; head++) {
    for (let first = 0; first < rows; first += rows_per_sequence) {
      const { sequence } = rowPlace(run, first);
      const received = new Float64Array(capacity);
      for (let row = first; row < first + rows_per_sequence; row++) {
        const logSum = log_sum[head * rows + row]!;
        rowScores(run, { row, head, headDim }).forEach((score, key) => {
          received[key]! += Math.exp(score - logSum);
        });
      }
      const place = (sequence * query_heads + head) * capacity;
      received.forEach((sum, key) => sums[place + key]! += sum);
    }
  }
}

/**
 * Prepares the second pass of a step.
 *
 * @param info The device, for the choice of the variant.
 * @param options Buffers and sizes.
 * @returns The command.
 * @throws {RangeError} If the sizes do not fit together.
 */
export function attentionSumsCommand(
  info: Pick<DeviceInfo, "subgroupSize">,
  options: { readonly shape: AttentionShape; readonly buffers: AttentionSumsBuffers },
): Command {
  const { shape, buffers } = options;
  const params = attentionParams(shape);
  const variant = { ...shape, subgroupSize: info.subgroupSize };
  return dispatch({
    kernel: attentionSums(variant),
    buffers: { ...inputBuffers(buffers), log_sum: buffers.log_sum, sums: buffers.sums },
    params,
    grid: [columnsStripes(variant, shape.capacity), shape.kvHeads, shape.sequences],
  });
}

/**
 * Counts the workgroups that share the keys.
 *
 * @param variant What the kernel is made for.
 * @param columns Keys at most.
 * @returns Workgroups along x.
 */
export function columnsStripes(variant: ColumnsVariant, columns: number): number {
  const lanes = handOut(variant.subgroupSize);
  const blockKeys = lanes.lanes * columnsTile(variant, lanes).laneKeys;
  return Math.min(MAX_STRIPES, Math.ceil(columns / blockKeys));
}

/** Variants for the tests that compare contracts with WGSL. */
export function contractSamples(): Kernel<AttentionSumsContract>[] {
  return [
    attentionSums({ headDim: 64, subgroupSize: 8, rowsPerSequence: 1 }),
    attentionSums({ headDim: 128, subgroupSize: 8, rowsPerSequence: 128 }),
    attentionSums({ headDim: 64, subgroupSize: 0, rowsPerSequence: 128 }),
  ];
}
