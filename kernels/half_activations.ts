/**
 * Activations as halves, for products of 16 bits on WebGPU: contract, twin and command.
 *
 * Halves reach from 2^-14 to 65504, activations of some models beyond. Each row is multiplied by the power of two that
 * brings its largest magnitude to 16 or up to 32, which is exact, and products are divided by it at the end. What is less
 * than 2^-19 of the largest may become zero; sums of eight products with weights below 255 do not overflow.
 *
 * @module
 */

import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import wgsl from "./half_activations.wgsl" with { type: "text" };
import type { ActivationRows } from "./matmul_int8.ts";

/** Contract of `half_activations.wgsl`. */
export const HALF_ACTIVATIONS_CONTRACT = {
  name: "half_activations",
  wgsl,
  bindings: { input: "read f32", halves: "write u32", scales: "write u32" },
  constants: { WORKGROUP_SIZE: 64 },
  params: { columns: "u32", input_stride: "u32" },
  workgroupBytes: 4 * 64,
} as const;

/** Contract and twin of `half_activations.wgsl`. */
export const halfActivations: Kernel<typeof HALF_ACTIVATIONS_CONTRACT> = defineKernel(
  HALF_ACTIVATIONS_CONTRACT,
  round,
);

/** Rows whose largest magnitude is below count as zeros. */
const SMALLEST = 2 ** -100;

function round({ buffers, params, grid }: KernelRun<typeof HALF_ACTIVATIONS_CONTRACT>): void {
  const { columns, input_stride: stride } = params;
  const halves = new Float16Array(buffers.halves.buffer, buffers.halves.byteOffset);
  const scales = new Float32Array(buffers.scales.buffer, buffers.scales.byteOffset);
  for (let row = 0; row < grid[0]; row++) {
    const rounded = halfRow(buffers.input.subarray(row * stride, row * stride + columns));
    scales[row] = rounded.scale;
    halves.set(rounded.halves, row * columns);
  }
}

/** A row as halves, and what they must be multiplied by. */
function halfRow(
  values: Float32Array,
): { readonly halves: Float16Array; readonly scale: number } {
  const scale = rowScale(values);
  const isZero = scale === 0 || Number.isNaN(scale);
  return { halves: Float16Array.from(values, (value) => isZero ? 0 : value / scale), scale };
}

/** Power of two by which the halves of a row must be multiplied; 0 for rows of zeros, NaN where one is not finite. */
function rowScale(values: Float32Array): number {
  if (!values.every(Number.isFinite)) return NaN;
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return largest < SMALLEST ? 0 : 2 ** (Math.floor(Math.log2(largest)) - 4);
}

/**
 * Rounds activations as WebGPU does with `activationBits: 16`.
 *
 * @param input f32 [rows, stride].
 * @param shape Its rows and columns.
 * @returns What they become, [rows, stride]; zeros behind the columns, NaN in rows that have some or infinity.
 */
export function roundedToHalves(
  input: Float32Array,
  { rows, columns, stride }: ActivationRows,
): Float64Array {
  const rounded = new Float64Array(rows * stride);
  for (let row = 0; row < rows; row++) {
    const { halves, scale } = halfRow(input.subarray(row * stride, row * stride + columns));
    rounded.set(Float64Array.from(halves, (half) => half * scale), row * stride);
  }
  return rounded;
}

/**
 * Makes the dispatch.
 *
 * @param buffers Their contents are in the header of the WGSL.
 * @param shape Rows, columns in use and elements from one row of the input to the next, both multiples of 32.
 */
export function halfActivationsCommand(
  buffers: DispatchBuffers<typeof HALF_ACTIVATIONS_CONTRACT>,
  { rows, columns, stride }: ActivationRows,
): Command {
  return dispatch({
    kernel: halfActivations,
    buffers,
    params: { columns, input_stride: stride },
    grid: [rows, 1, 1],
  });
}
