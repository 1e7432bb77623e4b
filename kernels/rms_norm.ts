/**
 * Root-mean-square normalization of rows: contract and twin.
 *
 * @see {@link https://arxiv.org/abs/1910.07467 | Root Mean Square Layer Normalization}
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./rms_norm.wgsl" with { type: "text" };
import { type AdapterFeatures, kernelShapes } from "./shapes.ts";

/** Contract of `rms_norm.wgsl`. */
export const RMS_NORM_CONTRACT = {
  name: "rms_norm",
  wgsl,
  bindings: { input: "read f32", weight: "read f32", output: "write f32" },
  constants: { WORKGROUP_SIZE: 64 },
  params: {
    rows: "u32",
    columns: "u32",
    input_stride: "u32",
    output_stride: "u32",
    epsilon: "f32",
    row_step: "u32",
    row_offset: "u32",
    accumulate: "u32",
  },
  workgroupBytes: 4 * 64,
} as const;

/** Contract and twin of `rms_norm.wgsl`. */
export const rmsNorm: Kernel<typeof RMS_NORM_CONTRACT> = defineKernel(
  RMS_NORM_CONTRACT,
  normalize,
  {
    module: CPU_MODULE,
    passes: ({ params }) => [{ entry: "rms_norm", items: params.rows, work: params.columns }],
  },
);

function normalize({ buffers, params }: KernelRun<typeof RMS_NORM_CONTRACT>): void {
  const { columns, input_stride, output_stride, row_step, row_offset } = params;
  for (let row = 0; row < params.rows; row++) {
    const source = (row * row_step + row_offset) * input_stride;
    const values = buffers.input.subarray(source, source + columns);
    let squares = 0;
    for (const value of values) squares += value * value;
    const factor = 1 / Math.sqrt(squares / columns + params.epsilon);
    values.forEach((value, column) => {
      const index = row * output_stride + column;
      const before = params.accumulate ? buffers.output[index]! : 0;
      buffers.output[index] = value * factor * buffers.weight[column]! + before;
    });
  }
}

/** Sizes of a normalization. */
export interface RmsNormShape {
  /** Output rows. */
  readonly rows: number;
  /** Columns in use. */
  readonly columns: number;
  /** Elements from one input row to the next. */
  readonly inputStride: number;
  /** Elements from one output row to the next. */
  readonly outputStride: number;
  /** Added to the mean square. */
  readonly epsilon: number;
  /** Input rows from one output row to the next; 1 if left out. */
  readonly rowStep?: number;
  /** First input row; 0 if left out. */
  readonly rowOffset?: number;
  /** Whether the result is added to what `output` holds; false if left out. */
  readonly accumulate?: boolean;
}

/**
 * Prepares a normalization.
 *
 * @param info The device, whose kind decides how many threads a row has.
 * @param buffers What it reads and writes; see the header of its WGSL.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If a stride is shorter than a row.
 */
export function rmsNormCommand(
  info: AdapterFeatures,
  buffers: DispatchBuffers<typeof RMS_NORM_CONTRACT>,
  shape: RmsNormShape,
): Command {
  const { rows, columns, inputStride, outputStride, epsilon, rowStep = 1, rowOffset = 0 } = shape;
  const action = "normalize rows";
  checkInteger(action, "columns", { value: columns, min: 1 });
  checkInteger(action, "inputStride", { value: inputStride, min: columns });
  checkInteger(action, "outputStride", { value: outputStride, min: columns });
  return dispatch({
    kernel: rmsNorm,
    constants: { WORKGROUP_SIZE: kernelShapes(info).normThreads },
    buffers,
    params: {
      rows,
      columns,
      input_stride: inputStride,
      output_stride: outputStride,
      epsilon,
      row_step: rowStep,
      row_offset: rowOffset,
      accumulate: shape.accumulate ? 1 : 0,
    },
    grid: [rows, 1, 1],
  });
}
