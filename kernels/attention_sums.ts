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
import {
  columnsStripes,
  columnsText,
  columnsTile,
  type ColumnsVariant,
  queryMemory,
} from "./attention_columns_wgsl.ts";
import {
  ATTENTION_PARAMS,
  type AttentionInputBuffers,
  attentionParams,
  type AttentionShape,
  checkHeadDim,
  inputBuffers,
  rowPlace,
  rowScores,
} from "./attention_input.ts";
import { handOut, variantName } from "./attention_wgsl.ts";

/** Storage buffers of `attention_sums`. */
export const ATTENTION_SUMS_BINDINGS = {
  state: "read u32",
  qkv: "read f32",
  keys: "read u32",
  log_sum: "read f32",
  visible: "read u32",
  sums: "write f32",
} as const;

/** Fields of `Params` of `attention_sums`. */
export const ATTENTION_SUMS_PARAMS = { ...ATTENTION_PARAMS, row_decay: "f32" } as const;

/** Contract of every variant of `attention_sums`. */
export interface AttentionSumsContract extends KernelContract {
  /** Storage buffers. */
  readonly bindings: typeof ATTENTION_SUMS_BINDINGS;
  /** There are none: sizes that matter are written into the text. */
  readonly constants: Record<never, number>;
  /** Sizes, flags, and the factor from one row's weight to that of the row before. */
  readonly params: typeof ATTENTION_SUMS_PARAMS;
}

/** Buffers of `attention_sums`. */
export interface AttentionSumsBuffers extends AttentionInputBuffers {
  /** Log-sum-exp of each row's scores, f32 [queryHeads, rows]. */
  readonly log_sum: DeviceBuffer | BufferWindow;
  /** Attention received so far, f32 [sequences, queryHeads, capacity]. */
  readonly sums: DeviceBuffer | BufferWindow;
}

/**
 * Makes a variant of the kernel.
 *
 * @param variant What it is made for.
 * @returns The kernel.
 * @throws {RangeError} If there is no variant for the head size.
 */
export function attentionSums(variant: ColumnsVariant): Kernel<AttentionSumsContract> {
  const { headDim, keyFormat } = variant;
  checkHeadDim(headDim);
  const lanes = handOut(variant.subgroupSize);
  const tile = columnsTile(variant, lanes);
  const stem = tile.tileRows > 1 ? "attention_sums_rows" : "attention_sums";
  const name = variantName(stem, { headDim, handOut: lanes, keyFormat });
  const contract: AttentionSumsContract = {
    name,
    wgsl: columnsText({
      name,
      headDim,
      handOut: lanes,
      keyFormat,
      ...tile,
      bindings: ATTENTION_SUMS_BINDINGS,
      params: ATTENTION_SUMS_PARAMS,
      kind: "sums",
    }),
    bindings: ATTENTION_SUMS_BINDINGS,
    constants: {},
    params: ATTENTION_SUMS_PARAMS,
    ...queryMemory(variant, lanes),
  };
  return defineKernel(contract, (run) => attentionSumsReference(run, { headDim, keyFormat }));
}

function attentionSumsReference(
  run: KernelRun<AttentionSumsContract>,
  variant: Pick<ColumnsVariant, "headDim" | "keyFormat">,
): void {
  const { buffers: { log_sum, sums }, params } = run;
  const { rows, rows_per_sequence, query_heads, capacity, row_decay } = params;
  for (let head = 0; head < query_heads; head++) {
    for (let first = 0; first < rows; first += rows_per_sequence) {
      const { sequence } = rowPlace(run, first);
      const received = new Float64Array(capacity);
      for (let row = first; row < first + rows_per_sequence; row++) {
        const logSum = log_sum[head * rows + row]!;
        const weight = row_decay ** (first + rows_per_sequence - 1 - row);
        rowScores(run, { row, head, ...variant }).forEach((score, key) => {
          received[key]! += weight * Math.exp(score - logSum);
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
 * @param options Buffers, sizes, and the factor from one row's weight to that of the row before, from 0 (only a
 *   sequence's last row counts) to 1 (all rows count the same, if left out).
 * @returns The command.
 * @throws {RangeError} If the sizes do not fit together.
 */
export function attentionSumsCommand(
  info: Pick<DeviceInfo, "subgroupSize">,
  options: {
    readonly shape: AttentionShape;
    readonly buffers: AttentionSumsBuffers;
    readonly rowDecay?: number;
  },
): Command {
  const { shape, buffers, rowDecay = 1 } = options;
  const params = attentionParams(shape);
  const variant = { ...shape, subgroupSize: info.subgroupSize };
  return dispatch({
    kernel: attentionSums(variant),
    buffers: { ...inputBuffers(buffers), log_sum: buffers.log_sum, sums: buffers.sums },
    params: { ...params, row_decay: rowDecay },
    grid: [columnsStripes(variant, shape.capacity), shape.kvHeads, shape.sequences],
  });
}

/** Variants for the tests that compare contracts with WGSL. */
export function attentionSumsSamples(): Kernel<AttentionSumsContract>[] {
  return [
    attentionSums({ headDim: 64, subgroupSize: 8, rowsPerSequence: 1 }),
    attentionSums({ headDim: 128, subgroupSize: 8, rowsPerSequence: 128 }),
    attentionSums({ headDim: 64, subgroupSize: 0, rowsPerSequence: 128 }),
    attentionSums({ headDim: 64, subgroupSize: 8, rowsPerSequence: 128, keyFormat: "f32" }),
  ];
}
