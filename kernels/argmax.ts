/**
 * Greedy choice of the next token on the device: `argmax_partial` finds the largest logit of each block of the vocabulary,
 * `argmax` the largest of those.
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./argmax.wgsl" with { type: "text" };
import { writeOut } from "./write_out.ts";

/** Token id that stands for "a logit is not a number". */
export const INVALID_TOKEN = 0xffffffff;

/** Blocks that the vocabulary is divided into. */
const BLOCKS = 64;

const partialText: string = writeOut(wgsl, { PARTIAL: 1 })
  .replace("fn argmax(", "fn argmax_partial(");
const finalText: string = writeOut(wgsl, { PARTIAL: 0 });

/** Rank of a logit that is not a number. */
export const NAN_RANK = 0xffffffff;

/** Contract of `argmax_partial`. */
export const ARGMAX_PARTIAL_CONTRACT = {
  name: "argmax_partial",
  wgsl: partialText,
  bindings: { logits: "read f32", partial: "write u32" },
  constants: { WORKGROUP_SIZE: 64 },
  params: { columns: "u32", stride: "u32", blocks: "u32" },
  workgroupBytes: 8 * 64,
} as const;

/** Contract and twin of `argmax_partial`; the grid is blocks by sequences. */
export const argmaxPartial: Kernel<typeof ARGMAX_PARTIAL_CONTRACT> = defineKernel(
  ARGMAX_PARTIAL_CONTRACT,
  findInBlocks,
  {
    module: CPU_MODULE,
    passes: ({ params, grid }) => [
      {
        entry: "argmax_partial",
        items: params.blocks * grid[1],
        work: params.columns / params.blocks,
      },
    ],
  },
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

/** Contract of `argmax`. */
export const ARGMAX_CONTRACT = {
  name: "argmax",
  wgsl: finalText,
  bindings: { partial: "read u32", tokens: "write u32", state: "write u32" },
  constants: { WORKGROUP_SIZE: 64 },
  params: { blocks: "u32", capacity: "u32", advance: "u32" },
  workgroupBytes: 8 * 64,
} as const;

/** Contract and twin of `argmax`; the grid is sequences. */
export const argmax: Kernel<typeof ARGMAX_CONTRACT> = defineKernel(
  ARGMAX_CONTRACT,
  chooseTokens,
  {
    module: CPU_MODULE,
    passes: ({ params, grid }) => [{ entry: "argmax", items: grid[0], work: params.blocks }],
  },
);

function chooseTokens({ buffers, params, grid }: KernelRun<typeof ARGMAX_CONTRACT>): void {
  const { partial, tokens, state } = buffers;
  for (let index = 0; index < grid[0]; index++) {
    let best = { rank: 0, column: 0 };
    for (let block = 0; block < params.blocks; block++) {
      const place = 2 * (index * params.blocks + block);
      if (partial[place]! <= best.rank) continue;
      best = { rank: partial[place]!, column: partial[place + 1]! };
    }
    const sequence = state[0]! + index;
    const position = state[1 + sequence]! + params.advance;
    const id = best.rank === NAN_RANK ? INVALID_TOKEN : best.column;
    if (position < params.capacity) tokens[sequence * params.capacity + position] = id;
    state[1 + sequence] = position;
  }
}

/** Sizes of a choice. */
export interface ArgmaxShape {
  /** Sequences in the step. */
  readonly sequences: number;
  /** Logits of a sequence in use. */
  readonly columns: number;
  /** Elements from one row of logits to the next; a multiple of 4. */
  readonly stride: number;
  /** Positions that `tokens` has room for. */
  readonly capacity: number;
  /** Rows that the step has added to each sequence. */
  readonly advance: number;
}

/** Buffers of both passes; `partial` is scratch of `argmaxPartialBytes` bytes. */
export type ArgmaxBuffers =
  & DispatchBuffers<typeof ARGMAX_PARTIAL_CONTRACT>
  & DispatchBuffers<typeof ARGMAX_CONTRACT>;

/**
 * Counts the bytes of the scratch buffer.
 *
 * @param sequences Sequences in the step.
 * @returns Bytes.
 */
export function argmaxPartialBytes(sequences: number): number {
  return 8 * BLOCKS * sequences;
}

/**
 * Prepares the choice of the next token of each sequence.
 *
 * @param buffers What it reads and writes.
 * @param shape Sizes.
 * @returns Two commands.
 * @throws {RequirementError} If the stride is too short or not a multiple of 4.
 */
export function argmaxCommands(buffers: ArgmaxBuffers, shape: ArgmaxShape): Command[] {
  const { sequences, columns, stride, capacity, advance } = shape;
  const vec4s = Math.ceil(columns / 4);
  checkInteger("choose tokens", "columns", { value: columns, min: 1 });
  checkInteger("choose tokens", "stride / 4", { value: stride / 4, min: vec4s });
  const { logits, partial, tokens, state } = buffers;
  return [
    dispatch({
      kernel: argmaxPartial,
      buffers: { logits, partial },
      params: { columns, stride, blocks: BLOCKS },
      grid: [BLOCKS, sequences, 1],
    }),
    dispatch({
      kernel: argmax,
      buffers: { partial, tokens, state },
      params: { blocks: BLOCKS, capacity, advance },
      grid: [sequences, 1, 1],
    }),
  ];
}

/** Both kernels, for the tests that compare contracts with WGSL. */
export const argmaxSamples: readonly Kernel[] = [
  argmaxPartial as unknown as Kernel,
  argmax as unknown as Kernel,
];
