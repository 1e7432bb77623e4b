/**
 * Activations as integers of 8 bits, for products on WebGPU: contract, twin and command. The rule is that of the CPU device, and
 * in `matmul_int8.ts`.
 *
 * @module
 */

import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import wgsl from "./int8_activations.wgsl" with { type: "text" };
import { type ActivationRows, int8Block } from "./matmul_int8.ts";
import { BLOCK_COLUMNS } from "./weights/format.ts";

/** Contract of `int8_activations.wgsl`. */
export const INT8_ACTIVATIONS_CONTRACT = {
  name: "int8_activations",
  wgsl,
  bindings: { input: "read f32", bytes: "write u32", scales: "write u32" },
  constants: {},
  params: { columns: "u32", input_stride: "u32" },
  workgroupBytes: 4 * 24,
} as const;

/** Contract and twin of `int8_activations.wgsl`. */
export const int8Activations: Kernel<typeof INT8_ACTIVATIONS_CONTRACT> = defineKernel(
  INT8_ACTIVATIONS_CONTRACT,
  round,
);

function round({ buffers, params, grid }: KernelRun<typeof INT8_ACTIVATIONS_CONTRACT>): void {
  const { columns, input_stride: stride } = params;
  const bytes = new Int8Array(buffers.bytes.buffer, buffers.bytes.byteOffset);
  const scales = new Float32Array(buffers.scales.buffer, buffers.scales.byteOffset);
  const sums = new Int16Array(buffers.scales.buffer, buffers.scales.byteOffset);
  const blocks = columns / BLOCK_COLUMNS;
  for (let row = 0; row < grid[1]; row++) {
    for (let block = 0; block < blocks; block++) {
      const start = row * stride + block * BLOCK_COLUMNS;
      const { scale, integers } = int8Block(buffers.input.subarray(start, start + BLOCK_COLUMNS));
      const place = row * blocks + block;
      bytes.set(integers, place * BLOCK_COLUMNS);
      scales[2 * place] = scale;
      for (const half of [0, 1]) {
        const part = integers.subarray(16 * half, 16 * half + 16);
        sums[4 * place + 2 + half] = part.reduce((sum, value) => sum + value, 0);
      }
    }
  }
}

/** Blocks that a workgroup rounds. */
const GROUP_BLOCKS = 8;

/**
 * Makes the dispatch.
 *
 * @param buffers Their contents are in the header of the WGSL.
 * @param shape Rows, columns in use and elements from one row of the input to the next, both multiples of 32.
 */
export function int8ActivationsCommand(
  buffers: DispatchBuffers<typeof INT8_ACTIVATIONS_CONTRACT>,
  { rows, columns, stride }: ActivationRows,
): Command {
  return dispatch({
    kernel: int8Activations,
    buffers,
    params: { columns, input_stride: stride },
    grid: [Math.ceil(columns / (GROUP_BLOCKS * BLOCK_COLUMNS)), rows, 1],
  });
}
