/**
 * Softmax of each query head's scores of all tokens, and the mean over the heads that rank together: contract and twin.
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
import wgsl from "./rank_rows.wgsl" with { type: "text" };

const WORKGROUP_SIZE = 128;

/** Contract of `rank_rows.wgsl`. */
export const RANK_ROWS_CONTRACT = {
  name: "rank_rows",
  wgsl,
  bindings: {
    state: "read u32",
    joined: "read u32",
    sink_logits: "read f32",
    rows: "write f32",
    saliency: "write f32",
  },
  constants: { WORKGROUP_SIZE },
  params: {
    query_heads: "u32",
    group_heads: "u32",
    group_offset: "u32",
    groups: "u32",
    capacity: "u32",
    has_sinks: "u32",
  },
  workgroupBytes: 4 * WORKGROUP_SIZE,
} as const;

/** Contract and twin of `rank_rows.wgsl`. */
export const rankRows: Kernel<typeof RANK_ROWS_CONTRACT> = defineKernel(
  RANK_ROWS_CONTRACT,
  rankAll,
  {
    module: CPU_MODULE,
    passes: ({ params: { query_heads, capacity }, grid: [groups, sequences] }) => [
      { entry: "rank_rows_softmax", items: sequences * query_heads, work: 10 * capacity },
      {
        entry: "rank_rows_mean",
        items: sequences * groups,
        work: capacity * query_heads / groups,
        values: { layer_groups: groups },
      },
    ],
  },
);

function rankAll(
  { buffers, params, grid: [groups, sequences] }: KernelRun<typeof RANK_ROWS_CONTRACT>,
): void {
  const { state, joined, sink_logits, rows, saliency } = buffers;
  const { query_heads, group_heads, capacity } = params;
  for (let sequence = state[0]!; sequence < state[0]! + sequences; sequence++) {
    const tokens = Math.min(4 * Math.ceil((state[1 + sequence]! + 1) / 4), capacity);
    const rowOf = (head: number) => {
      const first = (sequence * query_heads + head) * capacity;
      return rows.subarray(first, first + tokens);
    };
    for (let head = 0; head < query_heads; head++) {
      const row = rowOf(head);
      const sink = params.has_sinks === 1 ? sink_logits[head]! * Math.LOG2E : -Infinity;
      const largest = row.reduce((most, score) => Math.max(most, score), sink);
      const exponentials = Float64Array.from(row, (score) => 2 ** (score - largest));
      const sum = exponentials.reduce((total, value) => total + value, 2 ** (sink - largest));
      row.set(exponentials.map((value) => value / sum));
    }
    const members = joined[sequence]!;
    for (let group = 0; group < groups; group++) {
      const first = Math.floor(group * group_heads / members) * members;
      const heads = Array.from({ length: members }, (_, k) => rowOf(first + k));
      const place = (sequence * params.groups + params.group_offset + group) * capacity;
      for (let token = 0; token < tokens; token++) {
        saliency[place + token] = heads.reduce((sum, row) => sum + row[token]!, 0) / members;
      }
    }
  }
}

/** Buffers of `rank_rows`; see the header of its WGSL. */
export interface RankRowsBuffers
  extends Omit<DispatchBuffers<typeof RANK_ROWS_CONTRACT>, "sink_logits"> {
  /** Logit of each head's sink, f32 [queryHeads]; heads have none if left out. */
  readonly sinks?: DeviceBuffer | BufferWindow | undefined;
}

/** Sizes of `rank_rows`. */
export interface RankRowsShape {
  /** Sequences in the step. */
  readonly sequences: number;
  /** Query heads of the layer. */
  readonly queryHeads: number;
  /** Query heads that share a list. */
  readonly groupHeads: number;
  /** First selection of the layer. */
  readonly groupOffset: number;
  /** Selections of all layers. */
  readonly groups: number;
  /** Tokens that fit per sequence; a multiple of 4. */
  readonly capacity: number;
}

/**
 * Prepares rows and ranks of a layer.
 *
 * @param buffers What it reads and writes.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If sizes do not fit together.
 */
export function rankRowsCommand(buffers: RankRowsBuffers, shape: RankRowsShape): Command {
  const action = "rank tokens within a layer";
  const { queryHeads, groupHeads, groupOffset, groups, capacity } = shape;
  const layerGroups = queryHeads / groupHeads;
  checkInteger(action, "queryHeads / groupHeads", { value: layerGroups, min: 1 });
  checkInteger(action, "groupOffset", { value: groupOffset, min: 0, max: groups - layerGroups });
  checkInteger(action, "capacity / 4", { value: capacity / 4, min: 1 });
  const { state, joined, sinks, rows, saliency } = buffers;
  return dispatch({
    kernel: rankRows,
    buffers: { state, joined, sink_logits: sinks ?? state, rows, saliency },
    params: {
      query_heads: queryHeads,
      group_heads: groupHeads,
      group_offset: groupOffset,
      groups,
      capacity,
      has_sinks: sinks ? 1 : 0,
    },
    grid: [layerGroups, shape.sequences, 1],
  });
}
