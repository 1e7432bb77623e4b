/**
 * Running sums of all values of each KV head, which outlive the tokens: contract and twin.
 *
 * Tokens are added one after the other, so that a sum has the same bits however many of them a run adds.
 *
 * @see docs/method.md, "The rest"
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { unpackStored } from "./attention_reference.ts";
import type { KvFormat } from "./attention_shape.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./sum_values.wgsl" with { type: "text" };

/** Stands for the slot of each token's position. */
const NOT_FIXED = 0xffffffff;

/** Contract of `sum_values.wgsl`. */
export const SUM_VALUES_CONTRACT = {
  name: "sum_values",
  wgsl,
  bindings: { ranges: "read u32", values: "read u32", sums: "write f32" },
  constants: { WORKGROUP_SIZE: 64, HEAD_DIM: 64, HAS_F32_VALUES: 0 },
  params: { kv_heads: "u32", slots: "u32", slot: "u32", sum_offset: "u32" },
} as const;

/** Contract and twin of `sum_values.wgsl`. */
export const sumValues: Kernel<typeof SUM_VALUES_CONTRACT> = defineKernel(
  SUM_VALUES_CONTRACT,
  addValues,
  {
    module: CPU_MODULE,
    passes: ({ params: { kv_heads }, constants: { HEAD_DIM }, grid: [, sequences] }) => [
      { entry: "sum_values", items: kv_heads * sequences, work: HEAD_DIM },
    ],
    threadBytes: ({ constants }) => 4 * constants.HEAD_DIM,
  },
);

function addValues({ buffers, constants, params, grid }: KernelRun<typeof SUM_VALUES_CONTRACT>) {
  const { ranges, sums } = buffers;
  const { HEAD_DIM: headDim, HAS_F32_VALUES } = constants;
  const { kv_heads, slots, slot, sum_offset } = params;
  const values = unpackStored(buffers.values, HAS_F32_VALUES === 1 ? "f32" : "f16");
  for (let head = 0; head < grid[1] * kv_heads; head++) {
    const sequence = Math.floor(head / kv_heads);
    const [first, end] = ranges.subarray(2 * sequence, 2 * sequence + 2);
    if (first! >= end!) continue;
    const place = (sum_offset + head) * headDim;
    // In 32 bits after every token, since a sum may be continued at any of them.
    const sum = sums.subarray(place, place + headDim);
    if (first === 0) sum.fill(0);
    for (let token = first!; token < end!; token++) {
      const value = (head * slots + (slot === NOT_FIXED ? token : slot)) * headDim;
      for (let i = 0; i < headDim; i++) sum[i]! += values[value + i]!;
    }
  }
}

/** Sizes of `sum_values`. */
export interface SumValuesShape {
  /** Layer whose sums are continued. */
  readonly layer: number;
  /** Sequences held side by side. */
  readonly sequences: number;
  /** KV heads of a layer. */
  readonly kvHeads: number;
  /** Elements of a head; even. */
  readonly headDim: number;
  /** How values are stored; `f16` if left out. */
  readonly valueFormat?: KvFormat | undefined;
  /** Head vectors of a KV head in `values`. */
  readonly slots: number;
  /** Slot that is read; that of a token's position if left out. */
  readonly slot?: number | undefined;
}

/**
 * Prepares the addition of values in one layer.
 *
 * @param buffers What it reads and writes; see the header of its WGSL.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If a size is not positive, or the elements of a head do not fill words.
 */
export function sumValuesCommand(
  buffers: DispatchBuffers<typeof SUM_VALUES_CONTRACT>,
  shape: SumValuesShape,
): Command {
  const action = "sum values";
  const { layer, sequences, kvHeads, headDim, slots, slot = NOT_FIXED } = shape;
  checkInteger(action, "headDim / 2", { value: headDim / 2, min: 1 });
  for (const name of ["sequences", "kvHeads", "slots"] as const) {
    checkInteger(action, name, { value: shape[name], min: 1 });
  }
  return dispatch({
    kernel: sumValues,
    buffers,
    constants: { HEAD_DIM: headDim, HAS_F32_VALUES: shape.valueFormat === "f32" ? 1 : 0 },
    params: { kv_heads: kvHeads, slots, slot, sum_offset: layer * sequences * kvHeads },
    grid: [kvHeads, sequences, 1],
  });
}
