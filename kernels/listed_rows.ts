/**
 * Attention of the newest token to listed tokens, laid out by position, for every query head of a layer: contract and
 * twin. The counterpart of `attention_rows` for lists.
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import type { RowHeads } from "./attention_columns.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./listed_rows.wgsl" with { type: "text" };
import { type ListedLayer, listOf, listParams } from "./selection_list.ts";

const BLOCK = 512;

/** Contract of `listed_rows.wgsl`. */
export const LISTED_ROWS_CONTRACT = {
  name: "listed_rows",
  wgsl,
  bindings: { state: "read u32", lists: "read u32", attention: "read f32", rows: "write f32" },
  constants: { WORKGROUP_SIZE: 64, BLOCK },
  params: {
    groups_per_layer: "u32",
    group_offset: "u32",
    groups: "u32",
    group_heads: "u32",
    list_words: "u32",
    capacity: "u32",
    attention_stride: "u32",
    head_offset: "u32",
    heads_total: "u32",
  },
} as const;

/** Contract and twin of `listed_rows.wgsl`. */
export const listedRows: Kernel<typeof LISTED_ROWS_CONTRACT> = defineKernel(
  LISTED_ROWS_CONTRACT,
  layOut,
  {
    module: CPU_MODULE,
    passes: ({ params: { capacity }, grid: [, heads, sequences] }) => [
      { entry: "listed_rows", items: heads * sequences, work: capacity },
    ],
  },
);

function layOut({ buffers, params, grid }: KernelRun<typeof LISTED_ROWS_CONTRACT>): void {
  const { state, lists, attention, rows } = buffers;
  const { group_heads, capacity, attention_stride } = params;
  for (let place = 0; place < grid[2]; place++) {
    const sequence = state[0]! + place;
    const tokens = Math.min(state[1 + sequence]! + 1, capacity);
    for (let head = 0; head < grid[1]; head++) {
      const headGroup = sequence * params.groups + params.group_offset +
        Math.floor(head / group_heads);
      const start = (sequence * params.heads_total + params.head_offset + head) * capacity;
      const row = rows.subarray(start, start + tokens).fill(0);
      const softmax = attention.subarray((place * grid[1] + head) * attention_stride);
      listOf(lists, params, headGroup)?.full.forEach((token, entry) => {
        if (token < tokens) row[token] = softmax[entry]!;
      });
    }
  }
}

/** Sizes of `listed_rows`. */
export interface ListedRowsShape extends ListedLayer {
  /** Tokens that fit per sequence. */
  readonly capacity: number;
  /** Elements from one head's softmax to the next. */
  readonly attentionStride: number;
  /** Where the heads of the layer go. */
  readonly heads: RowHeads;
}

/**
 * Prepares the rows of one layer.
 *
 * @param buffers What it reads and writes; see the header of its WGSL.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If a size is not positive, or the layer's selections or heads are out of range.
 */
export function listedRowsCommand(
  buffers: DispatchBuffers<typeof LISTED_ROWS_CONTRACT>,
  shape: ListedRowsShape,
): Command {
  const action = "lay attention rows out";
  const { groupsPerLayer, groupHeads, heads } = shape;
  const listed = listParams(action, shape);
  checkInteger(action, "capacity", { value: shape.capacity, min: 1 });
  checkInteger(action, "heads in total", {
    value: heads.total,
    min: heads.offset + groupsPerLayer * groupHeads,
  });
  return dispatch({
    kernel: listedRows,
    buffers,
    params: {
      ...listed,
      groups_per_layer: groupsPerLayer,
      capacity: shape.capacity,
      attention_stride: shape.attentionStride,
      head_offset: heads.offset,
      heads_total: heads.total,
    },
    grid: listedRowsGrid(shape),
  });
}

/**
 * Counts the workgroups of `listed_rows`.
 *
 * @param shape Sizes of the step.
 * @returns Blocks of tokens, query heads of the layer, sequences.
 */
export function listedRowsGrid(
  shape: Pick<ListedRowsShape, "capacity" | "groupsPerLayer" | "groupHeads" | "sequences">,
): [number, number, number] {
  const { capacity, groupsPerLayer, groupHeads, sequences } = shape;
  return [Math.ceil(capacity / BLOCK), groupsPerLayer * groupHeads, sequences];
}
