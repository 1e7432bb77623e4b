/**
 * Attention of the newest token to listed tokens, laid out by position, for every query head of a layer: contract and
 * twin. What `attention_rows` is for a complete cache.
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type BufferWindow, type Command, type DeviceBuffer, dispatch } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import type { RowHeads } from "./attention_columns.ts";
import wgsl from "./listed_rows.wgsl" with { type: "text" };
import { LIST_HEADER_WORDS, listRoom } from "./selection_list.ts";

const BLOCK = 512;

/** Contract of `listed_rows.wgsl`. */
export const LISTED_ROWS_CONTRACT = {
  name: "listed_rows",
  wgsl,
  bindings: { state: "read u32", lists: "read u32", weights: "read f32", rows: "write f32" },
  constants: { WORKGROUP_SIZE: 64, BLOCK },
  params: {
    units_per_layer: "u32",
    unit_offset: "u32",
    units: "u32",
    unit_heads: "u32",
    list_words: "u32",
    capacity: "u32",
    weight_stride: "u32",
    head_offset: "u32",
    heads_total: "u32",
  },
} as const;

/** Contract and twin of `listed_rows.wgsl`. */
export const listedRows: Kernel<typeof LISTED_ROWS_CONTRACT> = defineKernel(
  LISTED_ROWS_CONTRACT,
  layOut,
);

function layOut({ buffers, params, grid }: KernelRun<typeof LISTED_ROWS_CONTRACT>): void {
  const { state, lists, weights, rows } = buffers;
  const { unit_heads, list_words, capacity, weight_stride } = params;
  const room = listRoom({ listWords: list_words, unitHeads: unit_heads });
  for (let place = 0; place < grid[2]; place++) {
    const sequence = state[0]! + place;
    const tokens = Math.min(state[1 + sequence]! + 1, capacity);
    for (let head = 0; head < grid[1]; head++) {
      const unit = sequence * params.units + params.unit_offset + Math.floor(head / unit_heads);
      const list = lists.subarray(unit * list_words, (unit + 1) * list_words);
      const kept = list[0]! > room ? 0 : list[0]!;
      const start = (sequence * params.heads_total + params.head_offset + head) * capacity;
      const row = rows.subarray(start, start + tokens).fill(0);
      for (let entry = 0; entry < kept; entry++) {
        const token = list[LIST_HEADER_WORDS + unit_heads + 2 * entry]!;
        if (token < tokens) row[token] = weights[(place * grid[1] + head) * weight_stride + entry]!;
      }
    }
  }
}

/** Buffers of `listed_rows`. */
export interface ListedRowsBuffers {
  /** First sequence of the step, then the tokens of each sequence before the newest one, u32. */
  readonly state: DeviceBuffer | BufferWindow;
  /** Kept tokens, u32 [sequences, units, listWords]; see `selection_list.ts`. */
  readonly lists: DeviceBuffer | BufferWindow;
  /** Softmax over each list, f32 [sequences of the step, query heads of the layer, weightStride]. */
  readonly weights: DeviceBuffer | BufferWindow;
  /** Attention of all layers' heads, f32 [sequences, heads, capacity]. */
  readonly rows: DeviceBuffer | BufferWindow;
}

/** Sizes of `listed_rows`. */
export interface ListedRowsShape {
  /** Sequences in the step. */
  readonly sequences: number;
  /** Selections of a layer. */
  readonly unitsPerLayer: number;
  /** First selection of the layer. */
  readonly unitOffset: number;
  /** Selections of all layers. */
  readonly units: number;
  /** Query heads that share a selection. */
  readonly unitHeads: number;
  /** Words of a list. */
  readonly listWords: number;
  /** Tokens that fit per sequence. */
  readonly capacity: number;
  /** Elements from one head's softmax to the next. */
  readonly weightStride: number;
  /** Where the heads of the layer go. */
  readonly heads: RowHeads;
}

/**
 * Prepares the rows of one layer.
 *
 * @param buffers What it reads and writes.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RangeError} If a size is not positive, or the layer's selections or heads lie outside.
 */
export function listedRowsCommand(buffers: ListedRowsBuffers, shape: ListedRowsShape): Command {
  const action = "lay attention rows out";
  const { unitsPerLayer, unitOffset, units, unitHeads, listWords, heads } = shape;
  for (const name of ["sequences", "unitsPerLayer", "unitHeads", "capacity"] as const) {
    checkInteger(action, name, { value: shape[name], min: 1 });
  }
  checkInteger(action, "unitOffset", { value: unitOffset, min: 0, max: units - unitsPerLayer });
  checkInteger(action, "listWords", { value: listWords, min: LIST_HEADER_WORDS + unitHeads });
  checkInteger(action, "heads in total", {
    value: heads.total,
    min: heads.offset + unitsPerLayer * unitHeads,
  });
  const { state, lists, weights, rows } = buffers;
  return dispatch({
    kernel: listedRows,
    buffers: { state, lists, weights, rows },
    params: {
      units_per_layer: unitsPerLayer,
      unit_offset: unitOffset,
      units,
      unit_heads: unitHeads,
      list_words: listWords,
      capacity: shape.capacity,
      weight_stride: shape.weightStride,
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
  shape: Pick<ListedRowsShape, "capacity" | "unitsPerLayer" | "unitHeads" | "sequences">,
): [number, number, number] {
  const { capacity, unitsPerLayer, unitHeads, sequences } = shape;
  return [Math.ceil(capacity / BLOCK), unitsPerLayer * unitHeads, sequences];
}
