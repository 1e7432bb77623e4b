/**
 * Attention rows over the tokens of one tokenizer, from rows over those of another: contract and twin.
 *
 * @see docs/method.md, "Small models with tokens of their own"
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./spread_rows.wgsl" with { type: "text" };

const WORKGROUP_SIZE = 64;

/** Contract of `spread_rows.wgsl`. */
export const SPREAD_ROWS_CONTRACT = {
  name: "spread_rows",
  wgsl,
  bindings: {
    counts: "read u32",
    rows: "read f32",
    starts: "read u32",
    sources: "read u32",
    shares: "read f32",
    spread: "write f32",
  },
  constants: { WORKGROUP_SIZE },
  params: { heads: "u32", own_capacity: "u32", capacity: "u32", entries: "u32" },
} as const;

/** Contract and twin of `spread_rows.wgsl`. */
export const spreadRows: Kernel<typeof SPREAD_ROWS_CONTRACT> = defineKernel(
  SPREAD_ROWS_CONTRACT,
  spreadByShares,
  {
    module: CPU_MODULE,
    passes: ({ params: { heads, capacity }, grid }) => [
      { entry: "spread_rows", items: grid[2] * heads, work: capacity },
    ],
  },
);

function spreadByShares({ buffers, params, grid }: KernelRun<typeof SPREAD_ROWS_CONTRACT>): void {
  const { counts, rows, starts, sources, shares, spread } = buffers;
  const { heads, own_capacity: ownCapacity, capacity, entries } = params;
  for (let sequence = 0; sequence < grid[2]; sequence++) {
    for (let head = sequence * heads; head < (sequence + 1) * heads; head++) {
      for (let token = 0; token < counts[sequence]!; token++) {
        const first = sequence * (capacity + 1) + token;
        let sum = 0;
        for (let entry = starts[first]!; entry < starts[first + 1]!; entry++) {
          const place = sequence * entries + entry;
          sum += shares[place]! * rows[head * ownCapacity + sources[place]!]!;
        }
        spread[head * capacity + token] = sum;
      }
    }
  }
}

/** Sizes of `spread_rows`. */
export interface SpreadRowsShape {
  /** Sequences in the step. */
  readonly sequences: number;
  /** Query heads of all layers. */
  readonly heads: number;
  /** Tokens of the rows that are read that fit per sequence. */
  readonly ownCapacity: number;
  /** Tokens of the rows that are written that fit per sequence. */
  readonly capacity: number;
  /** Entries that fit per sequence. */
  readonly entries: number;
}

/**
 * Prepares the spread of a step's rows.
 *
 * @param buffers What it reads and writes; see the header of its WGSL.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If a size is not positive.
 */
export function spreadRowsCommand(
  buffers: DispatchBuffers<typeof SPREAD_ROWS_CONTRACT>,
  shape: SpreadRowsShape,
): Command {
  for (const name of ["sequences", "heads", "ownCapacity", "capacity", "entries"] as const) {
    checkInteger("spread rows", name, { value: shape[name], min: 1 });
  }
  const { heads, ownCapacity, capacity, entries } = shape;
  return dispatch({
    kernel: spreadRows,
    buffers,
    params: { heads, own_capacity: ownCapacity, capacity, entries },
    grid: spreadRowsGrid(shape),
  });
}

/**
 * Counts the workgroups of `spread_rows`.
 *
 * @param shape Sizes of the step.
 * @returns Stretches of tokens, heads, sequences.
 */
export function spreadRowsGrid(
  { heads, sequences, capacity }: Pick<SpreadRowsShape, "heads" | "sequences" | "capacity">,
): [number, number, number] {
  return [Math.ceil(capacity / WORKGROUP_SIZE), heads, sequences];
}
