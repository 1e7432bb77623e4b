/**
 * Attention of the newest token of each sequence, for every query head of a layer: contract and twin.
 *
 * Like `attention_sums` it relies on the log-sum-exp that attention leaves.
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";
import {
  type BufferWindow,
  type Command,
  type DeviceBuffer,
  type DeviceInfo,
  dispatch,
} from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelContract, type KernelRun } from "../gpu/kernel.ts";
import {
  columnsStripes,
  columnsText,
  columnsTile,
  type ColumnsVariant,
  queryMemory,
} from "./attention_columns_wgsl.ts";
import {
  ATTENTION_PARAMS,
  attentionParams,
  type AttentionShape,
  checkHeadDim,
  rowPlace,
  rowScores,
} from "./attention_input.ts";
import { handOut, variantName } from "./attention_wgsl.ts";

/** Storage buffers of `attention_rows`. */
export const ATTENTION_ROWS_BINDINGS = {
  state: "read u32",
  qkv: "read f32",
  keys: "read u32",
  log_sum: "read f32",
  rows: "write f32",
} as const;

/** Fields of `Params` of `attention_rows`. */
export const ATTENTION_ROWS_PARAMS = {
  ...ATTENTION_PARAMS,
  head_offset: "u32",
  heads_total: "u32",
} as const;

/** Contract of every variant of `attention_rows`. */
export interface AttentionRowsContract extends KernelContract {
  /** Storage buffers. */
  readonly bindings: typeof ATTENTION_ROWS_BINDINGS;
  /** There are none: sizes that matter are written into the text. */
  readonly constants: Record<never, number>;
  /** Sizes, and where the heads of the layer go. */
  readonly params: typeof ATTENTION_ROWS_PARAMS;
}

/** Buffers of `attention_rows`. */
export interface AttentionRowsBuffers {
  /** First sequence of the step, then the cached tokens of each sequence, u32. */
  readonly state: DeviceBuffer | BufferWindow;
  /** Rows of query, key and value heads, f32 [rows, stride]. */
  readonly qkv: DeviceBuffer | BufferWindow;
  /** Packed halves [sequences, kvHeads, capacity, headDim / 2], or the bits of as many f32 as there are halves. */
  readonly keys: DeviceBuffer | BufferWindow;
  /** Log-sum-exp of each row's scores, f32 [queryHeads, rows]. */
  readonly log_sum: DeviceBuffer | BufferWindow;
  /** Attention of all layers' heads, f32 [sequences, heads, capacity]. */
  readonly rows: DeviceBuffer | BufferWindow;
}

/** Where the heads of a layer go. */
export interface RowHeads {
  /** Flat index of the layer's first query head. */
  readonly offset: number;
  /** Query heads of all layers. */
  readonly total: number;
}

/**
 * Makes a variant of the kernel.
 *
 * @param variant What it is made for; one new token of each sequence.
 * @returns The kernel.
 * @throws {RangeError} If there is no variant for the head size.
 */
export function attentionRows(
  variant: Omit<ColumnsVariant, "rowsPerSequence">,
): Kernel<AttentionRowsContract> {
  const { headDim, keyFormat } = variant;
  const columns = { ...variant, rowsPerSequence: 1 };
  checkHeadDim(headDim);
  const lanes = handOut(variant.subgroupSize);
  const name = variantName("attention_rows", { headDim, handOut: lanes, keyFormat });
  const contract: AttentionRowsContract = {
    name,
    wgsl: columnsText({
      name,
      headDim,
      handOut: lanes,
      keyFormat,
      ...columnsTile(columns, lanes),
      bindings: ATTENTION_ROWS_BINDINGS,
      params: ATTENTION_ROWS_PARAMS,
      kind: "rows",
    }),
    bindings: ATTENTION_ROWS_BINDINGS,
    constants: {},
    params: ATTENTION_ROWS_PARAMS,
    ...queryMemory(columns, lanes),
  };
  return defineKernel(contract, (run) => attentionRowsReference(run, { headDim, keyFormat }));
}

function attentionRowsReference(
  run: KernelRun<AttentionRowsContract>,
  variant: Pick<ColumnsVariant, "headDim" | "keyFormat">,
): void {
  const { buffers: { log_sum, rows }, params } = run;
  const { query_heads, capacity, head_offset, heads_total } = params;
  const masked = { buffers: { ...run.buffers, visible: new Uint32Array(1) }, params };
  for (let row = 0; row < params.rows; row++) {
    const { sequence } = rowPlace(run, row);
    for (let head = 0; head < query_heads; head++) {
      const place = (sequence * heads_total + head_offset + head) * capacity;
      const logSum = log_sum[head * params.rows + row]!;
      rowScores(masked, { row, head, ...variant }).forEach((score, key) => {
        rows[place + key] = Math.exp(score - logSum);
      });
    }
  }
}

/**
 * Prepares the rows of one layer.
 *
 * @param info The device, for the choice of the variant.
 * @param options Buffers, sizes, and where the heads go.
 * @returns The command.
 * @throws {RangeError} If the sizes do not fit together, a sequence has several new tokens, or keys are masked.
 */
export function attentionRowsCommand(
  info: Pick<DeviceInfo, "subgroupSize">,
  options: {
    readonly shape: AttentionShape;
    readonly heads: RowHeads;
    readonly buffers: AttentionRowsBuffers;
  },
): Command {
  const { shape, heads, buffers: { state, qkv, keys, log_sum, rows } } = options;
  const action = "keep attention rows";
  checkInteger(action, "rowsPerSequence", { value: shape.rowsPerSequence, min: 1, max: 1 });
  checkInteger(action, "masks", { value: shape.isMasked ? 1 : 0, min: 0, max: 0 });
  checkInteger(action, "heads in total", {
    value: heads.total,
    min: heads.offset + shape.queryHeads,
  });
  const variant = { ...shape, subgroupSize: info.subgroupSize };
  return dispatch({
    kernel: attentionRows(variant),
    buffers: { state, qkv, keys, log_sum, rows },
    params: { ...attentionParams(shape), head_offset: heads.offset, heads_total: heads.total },
    grid: [columnsStripes(variant, shape.capacity), shape.kvHeads, shape.sequences],
  });
}

/** Variants for the tests that compare contracts with WGSL. */
export function attentionRowsSamples(): Kernel<AttentionRowsContract>[] {
  return [
    attentionRows({ headDim: 64, subgroupSize: 8 }),
    attentionRows({ headDim: 128, subgroupSize: 0 }),
    attentionRows({ headDim: 64, subgroupSize: 8, keyFormat: "f32" }),
  ];
}
