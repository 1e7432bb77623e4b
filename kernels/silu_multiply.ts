/**
 * Activation of a gated MLP: contract and twin.
 *
 * @see {@link https://arxiv.org/abs/2002.05202 | GLU Variants Improve Transformer}, SwiGLU.
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./silu_multiply.wgsl" with { type: "text" };

const WORKGROUP_SIZE = 64;

/** Contract of `silu_multiply.wgsl`. */
export const SILU_MULTIPLY_CONTRACT = {
  name: "silu_multiply",
  wgsl,
  bindings: { input: "read f32", output: "write f32" },
  constants: { WORKGROUP_SIZE },
  params: {
    rows: "u32",
    columns: "u32",
    input_stride: "u32",
    up_offset: "u32",
    output_stride: "u32",
  },
} as const;

/** Contract and twin of `silu_multiply.wgsl`. */
export const siluMultiply: Kernel<typeof SILU_MULTIPLY_CONTRACT> = defineKernel(
  SILU_MULTIPLY_CONTRACT,
  multiply,
  {
    module: CPU_MODULE,
    passes: ({ params }) => [
      { entry: "silu_multiply", items: params.rows, work: 8 * params.columns },
    ],
  },
);

function multiply({ buffers, params }: KernelRun<typeof SILU_MULTIPLY_CONTRACT>): void {
  const columns = 4 * Math.ceil(params.columns / 4);
  for (let row = 0; row < params.rows; row++) {
    for (let column = 0; column < columns; column++) {
      const gate = buffers.input[row * params.input_stride + column]!;
      const up = buffers.input[row * params.input_stride + params.up_offset + column]!;
      buffers.output[row * params.output_stride + column] = gate / (1 + Math.exp(-gate)) * up;
    }
  }
}

/** Sizes of the activation; strides and the offset are multiples of 4. */
export interface SiluMultiplyShape {
  /** Rows. */
  readonly rows: number;
  /** Elements of a gate row. */
  readonly columns: number;
  /** Elements from one input row to the next. */
  readonly inputStride: number;
  /** Where `up` starts in a row. */
  readonly upOffset: number;
  /** Elements from one output row to the next. */
  readonly outputStride: number;
}

/**
 * Prepares the activation.
 *
 * @param buffers What it reads and writes; see the header of its WGSL.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If a stride or offset is too short or not a multiple of 4.
 */
export function siluMultiplyCommand(
  buffers: DispatchBuffers<typeof SILU_MULTIPLY_CONTRACT>,
  shape: SiluMultiplyShape,
): Command {
  const { rows, columns, inputStride, upOffset, outputStride } = shape;
  const action = "multiply gate and up";
  const vec4s = Math.ceil(columns / 4);
  checkInteger(action, "columns", { value: columns, min: 1 });
  checkInteger(action, "upOffset / 4", { value: upOffset / 4, min: vec4s });
  checkInteger(action, "inputStride / 4", { value: inputStride / 4, min: upOffset / 4 + vec4s });
  checkInteger(action, "outputStride / 4", { value: outputStride / 4, min: vec4s });
  return dispatch({
    kernel: siluMultiply,
    buffers,
    params: {
      rows,
      columns,
      input_stride: inputStride,
      up_offset: upOffset,
      output_stride: outputStride,
    },
    grid: [Math.ceil(vec4s / WORKGROUP_SIZE), rows, 1],
  });
}
