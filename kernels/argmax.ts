/**
 * Greedy choice of the next token on the device: contract, twin, and the commands of both passes.
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type BufferWindow, type Command, type DeviceBuffer, dispatch } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import wgsl from "./argmax.wgsl" with { type: "text" };
import { argmaxPartial, NAN_RANK } from "./argmax_partial.ts";

/** Token id that stands for "a logit is not a number". */
export const INVALID_TOKEN = 0xffffffff;

/** Blocks that the vocabulary is divided into. */
const BLOCKS = 64;

/** Contract of `argmax.wgsl`. */
export const ARGMAX_CONTRACT = {
  name: "argmax",
  wgsl,
  bindings: { partial: "read u32", tokens: "write u32", state: "write u32" },
  constants: { WORKGROUP_SIZE: 64 },
  params: { blocks: "u32", capacity: "u32", advance: "u32" },
  workgroupBytes: 8 * 64,
} as const;

/** Contract and twin of `argmax.wgsl`; the grid is sequences. */
export const argmax: Kernel<typeof ARGMAX_CONTRACT> = defineKernel(ARGMAX_CONTRACT, chooseTokens);

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
  /** Logits of a sequence that count. */
  readonly columns: number;
  /** Elements from one row of logits to the next; a multiple of 4. */
  readonly stride: number;
  /** Positions that `tokens` has room for. */
  readonly capacity: number;
  /** Rows that the step has added to each sequence. */
  readonly advance: number;
}

/** Buffers of both passes. */
export interface ArgmaxBuffers {
  /** Logits of the last row of each sequence, f32 [sequences, stride]. */
  readonly logits: DeviceBuffer | BufferWindow;
  /** Scratch of `argmaxPartialBytes` bytes. */
  readonly partial: DeviceBuffer | BufferWindow;
  /** Token ids, u32 [sequences, capacity]. */
  readonly tokens: DeviceBuffer | BufferWindow;
  /** First sequence of the step, then the cached tokens of each sequence, u32; the latter advance. */
  readonly state: DeviceBuffer | BufferWindow;
}

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
 * @throws {RangeError} If the stride is too short or no multiple of 4.
 */
export function argmaxCommands(buffers: ArgmaxBuffers, shape: ArgmaxShape): Command[] {
  const { sequences, columns, stride, capacity, advance } = shape;
  const fours = Math.ceil(columns / 4);
  checkInteger("choose tokens", "columns", { value: columns, min: 1 });
  checkInteger("choose tokens", "stride / 4", { value: stride / 4, min: fours });
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
