/**
 * Root-mean-square normalization of part of a row where it stands, as of all query heads of a token: contract and twin.
 *
 * @see {@link https://arxiv.org/abs/2501.00656 | 2 OLMo 2 Furious}, section 3.3.1, QK norm.
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./norm_in_place.wgsl" with { type: "text" };
import { type AdapterFeatures, kernelShapes } from "./shapes.ts";

/** Contract of `norm_in_place.wgsl`. */
export const NORM_IN_PLACE_CONTRACT = {
  name: "norm_in_place",
  wgsl,
  bindings: { weight: "read f32", values: "write f32" },
  constants: { WORKGROUP_SIZE: 64 },
  params: { rows: "u32", columns: "u32", stride: "u32", offset: "u32", epsilon: "f32" },
  workgroupBytes: 4 * 64,
} as const;

/** Contract and twin of `norm_in_place.wgsl`. */
export const normInPlace: Kernel<typeof NORM_IN_PLACE_CONTRACT> = defineKernel(
  NORM_IN_PLACE_CONTRACT,
  normalize,
  {
    module: CPU_MODULE,
    passes: ({ params }) => [{ entry: "norm_in_place", items: params.rows, work: params.columns }],
  },
);

function normalize({ buffers, params }: KernelRun<typeof NORM_IN_PLACE_CONTRACT>): void {
  const { rows, columns, stride, offset, epsilon } = params;
  for (let row = 0; row < rows; row++) {
    const start = row * stride + offset;
    const values = buffers.values.subarray(start, start + columns);
    let squares = 0;
    for (const value of values) squares += value * value;
    const factor = 1 / Math.sqrt(squares / columns + epsilon);
    values.forEach((value, column) => {
      values[column] = value * factor * buffers.weight[column]!;
    });
  }
}

/** Which columns of the rows are normalized. */
export interface NormInPlaceShape {
  /** Rows. */
  readonly rows: number;
  /** Columns that are normalized together. */
  readonly columns: number;
  /** Elements from one row to the next. */
  readonly stride: number;
  /** The first of the columns. */
  readonly offset: number;
  /** Added to the mean square. */
  readonly epsilon: number;
}

/**
 * Prepares a normalization.
 *
 * @param info The device, whose kind decides how many threads a row has.
 * @param buffers What it reads and changes; see the header of its WGSL.
 * @param shape Columns.
 * @returns The command.
 * @throws {RequirementError} If the columns are not within a row.
 */
export function normInPlaceCommand(
  info: AdapterFeatures,
  buffers: DispatchBuffers<typeof NORM_IN_PLACE_CONTRACT>,
  shape: NormInPlaceShape,
): Command {
  const { rows, columns, stride, offset, epsilon } = shape;
  checkInteger("normalize in place", "columns", { value: columns, min: 1 });
  checkInteger("normalize in place", "stride", { value: stride, min: offset + columns });
  return dispatch({
    kernel: normInPlace,
    constants: { WORKGROUP_SIZE: kernelShapes(info).normThreads },
    buffers,
    params: { rows, columns, stride, offset, epsilon },
    grid: [rows, 1, 1],
  });
}
