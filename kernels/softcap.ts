/**
 * Bounds on logits: contract and twin.
 *
 * @see {@link https://arxiv.org/abs/2408.00118 | Gemma 2}, section 2, logit soft-capping.
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./softcap.wgsl" with { type: "text" };

const WORKGROUP_SIZE = 64;

/** Contract of `softcap.wgsl`. */
export const SOFTCAP_CONTRACT = {
  name: "softcap",
  wgsl,
  bindings: { values: "write f32" },
  constants: { WORKGROUP_SIZE },
  params: { rows: "u32", columns: "u32", stride: "u32", cap: "f32" },
} as const;

/** Contract and twin of `softcap.wgsl`. */
export const softcap: Kernel<typeof SOFTCAP_CONTRACT> = defineKernel(SOFTCAP_CONTRACT, bound, {
  module: CPU_MODULE,
  passes: ({ params }) => [{ entry: "softcap", items: params.rows, work: 16 * params.columns }],
});

function bound({ buffers, params }: KernelRun<typeof SOFTCAP_CONTRACT>): void {
  const { rows, columns, stride, cap } = params;
  for (let row = 0; row < rows; row++) {
    for (let index = row * stride; index < row * stride + columns; index++) {
      buffers.values[index] = cap * Math.tanh(buffers.values[index]! / cap);
    }
  }
}

/** Sizes and bound of logits. */
export interface SoftcapShape {
  /** Rows. */
  readonly rows: number;
  /** Elements of a row. */
  readonly columns: number;
  /** Elements from one row to the next. */
  readonly stride: number;
  /** What magnitudes stay below; above 0. */
  readonly cap: number;
}

/**
 * Prepares the bound.
 *
 * @param buffers What it changes; see the header of its WGSL.
 * @param shape Sizes and bound.
 * @returns The command.
 * @throws {RequirementError} If rows are longer than their stride.
 */
export function softcapCommand(
  buffers: DispatchBuffers<typeof SOFTCAP_CONTRACT>,
  shape: SoftcapShape,
): Command {
  const { rows, columns, stride, cap } = shape;
  checkInteger("bound logits", "columns", { value: columns, min: 1 });
  checkInteger("bound logits", "stride", { value: stride, min: columns });
  return dispatch({
    kernel: softcap,
    buffers,
    params: { rows, columns, stride, cap },
    grid: [Math.ceil(columns / WORKGROUP_SIZE), rows, 1],
  });
}
