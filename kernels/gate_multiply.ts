/**
 * Activation of a gated MLP: contract and twin.
 *
 * @see {@link https://arxiv.org/abs/2002.05202 | GLU Variants Improve Transformer}, SwiGLU and GEGLU; GELU by its tanh formula,
 *   {@link https://arxiv.org/abs/1606.08415 | Gaussian Error Linear Units}.
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./gate_multiply.wgsl" with { type: "text" };

const WORKGROUP_SIZE = 64;

/** Activations of a gated MLP under transformers' names. */
export const ACTIVATIONS = ["silu", "gelu_pytorch_tanh"] as const;

/** One of `ACTIVATIONS`. */
export type Activation = (typeof ACTIVATIONS)[number];

/** Contract of `gate_multiply.wgsl`. */
export const GATE_MULTIPLY_CONTRACT = {
  name: "gate_multiply",
  wgsl,
  bindings: { input: "read f32", output: "write f32" },
  constants: { WORKGROUP_SIZE, IS_GELU: 0 },
  params: {
    rows: "u32",
    columns: "u32",
    input_stride: "u32",
    up_offset: "u32",
    output_stride: "u32",
  },
} as const;

/** Contract and twin of `gate_multiply.wgsl`. */
export const gateMultiply: Kernel<typeof GATE_MULTIPLY_CONTRACT> = defineKernel(
  GATE_MULTIPLY_CONTRACT,
  multiply,
  {
    module: CPU_MODULE,
    passes: ({ params }) => [
      { entry: "gate_multiply", items: params.rows, work: 8 * params.columns },
    ],
  },
);

function multiply(
  { buffers, constants, params }: KernelRun<typeof GATE_MULTIPLY_CONTRACT>,
): void {
  const activate = activationFunction(constants.IS_GELU ? "gelu_pytorch_tanh" : "silu");
  const columns = 4 * Math.ceil(params.columns / 4);
  for (let row = 0; row < params.rows; row++) {
    for (let column = 0; column < columns; column++) {
      const gate = buffers.input[row * params.input_stride + column]!;
      const up = buffers.input[row * params.input_stride + params.up_offset + column]!;
      buffers.output[row * params.output_stride + column] = activate(gate) * up;
    }
  }
}

/**
 * Finds the function of an activation, in float64.
 *
 * @param name Its name.
 * @returns The function.
 */
export function activationFunction(name: Activation): (x: number) => number {
  return name === "silu" ? silu : gelu;
}

function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

function gelu(x: number): number {
  return x / 2 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

/** Sizes of the activation; strides and the offset are multiples of 4. */
export interface GateMultiplyShape {
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
  /** Activation; SiLU if left out. */
  readonly activation?: Activation | undefined;
}

/**
 * Prepares the activation.
 *
 * @param buffers What it reads and writes; see the header of its WGSL.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If a stride or offset is too short or not a multiple of 4.
 */
export function gateMultiplyCommand(
  buffers: DispatchBuffers<typeof GATE_MULTIPLY_CONTRACT>,
  shape: GateMultiplyShape,
): Command {
  const { rows, columns, inputStride, upOffset, outputStride, activation } = shape;
  const action = "multiply gate and up";
  const vec4s = Math.ceil(columns / 4);
  checkInteger(action, "columns", { value: columns, min: 1 });
  checkInteger(action, "upOffset / 4", { value: upOffset / 4, min: vec4s });
  checkInteger(action, "inputStride / 4", { value: inputStride / 4, min: upOffset / 4 + vec4s });
  checkInteger(action, "outputStride / 4", { value: outputStride / 4, min: vec4s });
  return dispatch({
    kernel: gateMultiply,
    buffers,
    constants: { IS_GELU: activation === "gelu_pytorch_tanh" ? 1 : 0 },
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
