/**
 * Attention of the rows of one query head, for heads asked for by name: contract and twin.
 *
 * Like `attention_sums` it relies on the log-sum-exp that `flash_attention` leaves.
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
import { checkInteger } from "../core/check.ts";
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
  rowScores,
} from "./attention_input.ts";
import { handOut, variantName } from "./attention_wgsl.ts";

/** Storage buffers of `attention_map`. */
export const ATTENTION_MAP_BINDINGS = {
  state: "read u32",
  qkv: "read f32",
  keys: "read u32",
  log_sum: "read f32",
  visible: "read u32",
  output: "write f32",
} as const;

/** Fields of `Params` of `attention_map`. */
export const ATTENTION_MAP_PARAMS = {
  ...ATTENTION_PARAMS,
  head: "u32",
  map_stride: "u32",
  map_offset: "u32",
} as const;

/** Contract of every variant of `attention_map`. */
export interface AttentionMapContract extends KernelContract {
  /** Storage buffers. */
  readonly bindings: typeof ATTENTION_MAP_BINDINGS;
  /** There are none: sizes that matter are written into the text. */
  readonly constants: Record<never, number>;
  /** Sizes, flags, the query head, and where its map goes. */
  readonly params: typeof ATTENTION_MAP_PARAMS;
}

/** Buffers of `attention_map`. */
export interface AttentionMapBuffers extends AttentionInputBuffers {
  /** Log-sum-exp of each row's scores, f32 [queryHeads, rows]. */
  readonly log_sum: DeviceBuffer | BufferWindow;
  /** Attention of the head, f32 [offset + rows, stride]. */
  readonly output: DeviceBuffer | BufferWindow;
}

/** Which map goes where. */
export interface MapPlace {
  /** Query head. */
  readonly head: number;
  /** Elements from one row of the map to the next; keys beyond it are left out. */
  readonly stride: number;
  /** Row of the map that the step's first row becomes. */
  readonly offset: number;
}

/**
 * Makes a variant of the kernel.
 *
 * @param variant What it is made for.
 * @returns The kernel.
 * @throws {RangeError} If there is no variant for the head size.
 */
export function attentionMap(variant: ColumnsVariant): Kernel<AttentionMapContract> {
  const { headDim, keyFormat } = variant;
  checkHeadDim(headDim);
  const lanes = handOut(variant.subgroupSize);
  const tile = columnsTile(variant, lanes);
  const stem = tile.tileRows > 1 ? "attention_map_rows" : "attention_map";
  const name = variantName(stem, { headDim, handOut: lanes, keyFormat });
  const contract: AttentionMapContract = {
    name,
    wgsl: columnsText({
      name,
      headDim,
      handOut: lanes,
      keyFormat,
      ...tile,
      bindings: ATTENTION_MAP_BINDINGS,
      params: ATTENTION_MAP_PARAMS,
      kind: "map",
    }),
    bindings: ATTENTION_MAP_BINDINGS,
    constants: {},
    params: ATTENTION_MAP_PARAMS,
    ...queryMemory(variant, lanes),
  };
  return defineKernel(contract, (run) => attentionMapReference(run, { headDim, keyFormat }));
}

function attentionMapReference(
  run: KernelRun<AttentionMapContract>,
  variant: Pick<ColumnsVariant, "headDim" | "keyFormat">,
): void {
  const { buffers: { log_sum, output }, params: { rows, head, map_stride, map_offset } } = run;
  for (let row = 0; row < rows; row++) {
    const attention = new Float64Array(map_stride);
    const scores = rowScores(run, { row, head, ...variant }).subarray(0, map_stride);
    scores.forEach((score, key) => {
      attention[key] = Math.exp(score - log_sum[head * rows + row]!);
    });
    output.set(attention, (map_offset + row) * map_stride);
  }
}

/**
 * Prepares the map of one head for the rows of a step.
 *
 * @param info The device, for the choice of the variant.
 * @param options Buffers, sizes, and which map goes where.
 * @returns The command.
 * @throws {RangeError} If the sizes do not fit together or there is no such head.
 */
export function attentionMapCommand(
  info: Pick<DeviceInfo, "subgroupSize">,
  options: {
    readonly shape: AttentionShape;
    readonly buffers: AttentionMapBuffers;
    readonly map: MapPlace;
  },
): Command {
  const { shape, buffers, map } = options;
  const params = attentionParams(shape);
  checkInteger("map attention", "head", { value: map.head, min: 0, max: shape.queryHeads - 1 });
  const variant = { ...shape, subgroupSize: info.subgroupSize };
  return dispatch({
    kernel: attentionMap(variant),
    buffers: { ...inputBuffers(buffers), log_sum: buffers.log_sum, output: buffers.output },
    params: { ...params, head: map.head, map_stride: map.stride, map_offset: map.offset },
    grid: [columnsStripes(variant, map.stride), 1, shape.sequences],
  });
}

/** Variants for the tests that compare contracts with WGSL. */
export function attentionMapSamples(): Kernel<AttentionMapContract>[] {
  return [
    attentionMap({ headDim: 64, subgroupSize: 8, rowsPerSequence: 1 }),
    attentionMap({ headDim: 128, subgroupSize: 0, rowsPerSequence: 128 }),
    attentionMap({ headDim: 64, subgroupSize: 0, rowsPerSequence: 128, keyFormat: "f32" }),
  ];
}
