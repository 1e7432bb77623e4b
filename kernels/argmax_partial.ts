/**
 * The largest logit of each block of the vocabulary: contract and twin. `argmax` finishes the search.
 *
 * @module
 */

import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import wgsl from "./argmax_partial.wgsl" with { type: "text" };

/** Rank of a logit that is not a number. */
export const NAN_RANK = 0xffffffff;

/** Contract of `argmax_partial.wgsl`. */
export const ARGMAX_PARTIAL_CONTRACT = {
  name: "argmax_partial",
  wgsl,
  bindings: { logits: "read f32", partial: "write u32" },
  constants: { WORKGROUP_SIZE: 64 },
  params: { columns: "u32", stride: "u32", blocks: "u32" },
  workgroupBytes: 8 * 64,
} as const;

/** Contract and twin of `argmax_partial.wgsl`; the grid is blocks by sequences. */
export const argmaxPartial: Kernel<typeof ARGMAX_PARTIAL_CONTRACT> = defineKernel(
  ARGMAX_PARTIAL_CONTRACT,
  findInBlocks,
);

function findInBlocks({ buffers, params, grid }: KernelRun<typeof ARGMAX_PARTIAL_CONTRACT>): void {
  const { columns, stride, blocks } = params;
  const blockColumns = 4 * Math.ceil(Math.ceil(columns / 4) / blocks);
  for (let sequence = 0; sequence < grid[1]; sequence++) {
    for (let block = 0; block < blocks; block++) {
      const end = Math.min((block + 1) * blockColumns, columns);
      let best = { rank: 0, column: 0 };
      for (let column = block * blockColumns; column < end; column++) {
        const rank = rankOf(buffers.logits[sequence * stride + column]!);
        if (rank > best.rank) best = { rank, column };
      }
      buffers.partial.set([best.rank, best.column], 2 * (sequence * blocks + block));
    }
  }
}

/** Integer that orders like the logit; every NaN is `NAN_RANK`. */
function rankOf(logit: number): number {
  if (Number.isNaN(logit)) return NAN_RANK;
  const bits = new Uint32Array(Float32Array.of(logit === 0 ? 0 : logit).buffer)[0]!;
  return (bits >>> 31 === 1 ? ~bits : bits | 0x80000000) >>> 0;
}
