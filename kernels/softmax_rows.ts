/**
 * Softmax of each query head's scores of all tokens: contract and twin.
 *
 * @see docs/method.md, "Ranked within the layer"
 * @module
 */

import { checkInteger } from "../core/check.ts";
import {
  type BufferWindow,
  type Command,
  type DeviceBuffer,
  dispatch,
  type DispatchBuffers,
} from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./softmax_rows.wgsl" with { type: "text" };

const WORKGROUP_SIZE = 128;

/** Contract of `softmax_rows.wgsl`. */
export const SOFTMAX_ROWS_CONTRACT = {
  name: "softmax_rows",
  wgsl,
  bindings: { state: "read u32", sink_logits: "read f32", rows: "write f32" },
  constants: { WORKGROUP_SIZE },
  params: { query_heads: "u32", capacity: "u32", has_sinks: "u32" },
  workgroupBytes: 4 * WORKGROUP_SIZE,
} as const;

/** Contract and twin of `softmax_rows.wgsl`. */
export const softmaxRows: Kernel<typeof SOFTMAX_ROWS_CONTRACT> = defineKernel(
  SOFTMAX_ROWS_CONTRACT,
  softmaxAll,
  {
    module: CPU_MODULE,
    passes: ({ params: { capacity }, grid: [heads, sequences] }) => [
      { entry: "softmax_rows", items: sequences * heads, work: 10 * capacity },
    ],
  },
);

function softmaxAll(
  { buffers, params, grid: [, sequences] }: KernelRun<typeof SOFTMAX_ROWS_CONTRACT>,
): void {
  const { state, sink_logits, rows } = buffers;
  const { query_heads, capacity } = params;
  for (let sequence = state[0]!; sequence < state[0]! + sequences; sequence++) {
    const tokens = rowTokens(state[1 + sequence]!, capacity);
    for (let head = 0; head < query_heads; head++) {
      const first = (sequence * query_heads + head) * capacity;
      const row = rows.subarray(first, first + tokens);
      const sink = params.has_sinks === 1 ? sink_logits[head]! * Math.LOG2E : -Infinity;
      const largest = row.reduce((most, score) => Math.max(most, score), sink);
      const exponentials = Float64Array.from(row, (score) => 2 ** (score - largest));
      const sum = exponentials.reduce((total, value) => total + value, 2 ** (sink - largest));
      row.set(exponentials.map((value) => value / sum));
    }
  }
}

/**
 * Counts the tokens of a row: up to the newest one, and to the next multiple of 4.
 *
 * @param cached Tokens of the sequence before the newest one.
 * @param capacity Tokens that fit.
 */
export function rowTokens(cached: number, capacity: number): number {
  return Math.min(4 * Math.ceil((cached + 1) / 4), capacity);
}

/** Buffers of `softmax_rows`; see the header of its WGSL. */
export interface SoftmaxRowsBuffers
  extends Omit<DispatchBuffers<typeof SOFTMAX_ROWS_CONTRACT>, "sink_logits"> {
  /** Logit of each head's sink, f32 [queryHeads]; heads have none if left out. */
  readonly sinks?: DeviceBuffer | BufferWindow | undefined;
}

/** Sizes of `softmax_rows`. */
export interface SoftmaxRowsShape {
  /** Sequences in the step. */
  readonly sequences: number;
  /** Query heads of the layer. */
  readonly queryHeads: number;
  /** Tokens that fit per sequence; a multiple of 4. */
  readonly capacity: number;
}

/**
 * Prepares the softmax of a layer's rows.
 *
 * @param buffers What it reads and writes.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If the capacity is not a multiple of 4.
 */
export function softmaxRowsCommand(buffers: SoftmaxRowsBuffers, shape: SoftmaxRowsShape): Command {
  const { queryHeads, sequences, capacity } = shape;
  checkInteger("make rows of scores", "capacity / 4", { value: capacity / 4, min: 1 });
  const { state, sinks, rows } = buffers;
  return dispatch({
    kernel: softmaxRows,
    buffers: { state, sink_logits: sinks ?? state, rows },
    params: { query_heads: queryHeads, capacity, has_sinks: sinks ? 1 : 0 },
    grid: [queryHeads, sequences, 1],
  });
}
