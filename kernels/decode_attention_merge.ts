/**
 * Joins the parts of `decode_attention`: contract and twin.
 *
 * @module
 */

import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import wgsl from "./decode_attention_merge.wgsl" with { type: "text" };

/** Contract of `decode_attention_merge.wgsl`. */
export const DECODE_ATTENTION_MERGE_CONTRACT = {
  name: "decode_attention_merge",
  wgsl,
  bindings: { partial: "read f32", output: "write f32", log_sum: "write f32" },
  constants: { WORKGROUP_SIZE: 32, HEAD_DIM: 64 },
  params: { rows: "u32", query_heads: "u32", output_stride: "u32", splits: "u32" },
} as const;

/** Contract and twin of `decode_attention_merge.wgsl`; the grid is rows by query heads. */
export const decodeAttentionMerge: Kernel<typeof DECODE_ATTENTION_MERGE_CONTRACT> = defineKernel(
  DECODE_ATTENTION_MERGE_CONTRACT,
  merge,
);

function merge(
  { buffers, constants, params }: KernelRun<typeof DECODE_ATTENTION_MERGE_CONTRACT>,
): void {
  const size = 4 + constants.HEAD_DIM;
  for (let row = 0; row < params.rows; row++) {
    for (let head = 0; head < params.query_heads; head++) {
      const parts = Array.from({ length: params.splits }, (_, split) => {
        const index = (split * params.rows + row) * params.query_heads + head;
        return buffers.partial.subarray(index * size, (index + 1) * size);
      });
      const largest = Math.max(...parts.map((part) => part[0]!));
      const output = new Float64Array(constants.HEAD_DIM);
      let sum = 0;
      for (const part of parts) {
        const factor = 2 ** (part[0]! - largest);
        sum += factor * part[1]!;
        for (let i = 0; i < output.length; i++) output[i]! += factor * part[4 + i]!;
      }
      const first = row * params.output_stride + head * constants.HEAD_DIM;
      buffers.output.set(output.map((element) => element / sum), first);
      buffers.log_sum[head * params.rows + row] = (largest + Math.log2(sum)) * Math.LN2;
    }
  }
}
