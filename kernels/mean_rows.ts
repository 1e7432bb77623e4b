/**
 * Mean of the rows of the query heads that rank together: contract and twin.
 *
 * @see docs/method.md, "Ranked within the layer"
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./mean_rows.wgsl" with { type: "text" };
import { rowTokens, type SoftmaxRowsShape } from "./softmax_rows.ts";

const WORKGROUP_SIZE = 64;

/** Contract of `mean_rows.wgsl`. */
export const MEAN_ROWS_CONTRACT = {
  name: "mean_rows",
  wgsl,
  bindings: { state: "read u32", joined: "read u32", rows: "read f32", saliency: "write f32" },
  constants: { WORKGROUP_SIZE },
  params: {
    query_heads: "u32",
    group_heads: "u32",
    group_offset: "u32",
    groups: "u32",
    capacity: "u32",
  },
} as const;

/** Contract and twin of `mean_rows.wgsl`. */
export const meanRows: Kernel<typeof MEAN_ROWS_CONTRACT> = defineKernel(
  MEAN_ROWS_CONTRACT,
  meanAll,
  {
    module: CPU_MODULE,
    passes: ({ params: { query_heads, capacity }, grid: [, groups, sequences] }) => [{
      entry: "mean_rows",
      items: sequences * groups,
      work: capacity * query_heads / groups,
      values: { layer_groups: groups },
    }],
  },
);

function meanAll(
  { buffers, params, grid: [, groups, sequences] }: KernelRun<typeof MEAN_ROWS_CONTRACT>,
): void {
  const { state, joined, rows, saliency } = buffers;
  const { query_heads, group_heads, capacity } = params;
  for (let sequence = state[0]!; sequence < state[0]! + sequences; sequence++) {
    const tokens = rowTokens(state[1 + sequence]!, capacity);
    const members = joined[sequence]!;
    for (let group = 0; group < groups; group++) {
      const first = sequence * query_heads + Math.floor(group * group_heads / members) * members;
      const place = (sequence * params.groups + params.group_offset + group) * capacity;
      for (let token = 0; token < tokens; token++) {
        let sum = 0;
        for (let head = first; head < first + members; head++) {
          sum += rows[head * capacity + token]!;
        }
        saliency[place + token] = sum / members;
      }
    }
  }
}

/** Sizes of `mean_rows`. */
export interface MeanRowsShape extends SoftmaxRowsShape {
  /** Query heads that share a list. */
  readonly groupHeads: number;
  /** First selection of the layer. */
  readonly groupOffset: number;
  /** Selections of all layers. */
  readonly groups: number;
}

/**
 * Prepares what ranks the tokens of a layer.
 *
 * @param buffers What it reads and writes; see the header of its WGSL.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If sizes do not fit together.
 */
export function meanRowsCommand(
  buffers: DispatchBuffers<typeof MEAN_ROWS_CONTRACT>,
  shape: MeanRowsShape,
): Command {
  const action = "rank tokens within a layer";
  const { queryHeads, groupHeads, groupOffset, groups, capacity, sequences } = shape;
  const lists = queryHeads / groupHeads;
  checkInteger(action, "queryHeads / groupHeads", { value: lists, min: 1 });
  checkInteger(action, "groupOffset", { value: groupOffset, min: 0, max: groups - lists });
  checkInteger(action, "capacity / 4", { value: capacity / 4, min: 1 });
  return dispatch({
    kernel: meanRows,
    buffers,
    params: {
      query_heads: queryHeads,
      group_heads: groupHeads,
      group_offset: groupOffset,
      groups,
      capacity,
    },
    grid: [Math.ceil(capacity / 4 / WORKGROUP_SIZE), lists, sequences],
  });
}
