/**
 * Bounds of what the keys of a page can score: contract and twin.
 *
 * @see {@link https://arxiv.org/abs/2406.10774 | Quest}, algorithm 1
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { unpackStored } from "./attention_reference.ts";
import type { AttentionRule } from "./attention_shape.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import { checkPages, type PageSize } from "./page_bounds.ts";
import wgsl from "./page_scores.wgsl" with { type: "text" };

const WORKGROUP_SIZE = 64;
/** Pages of an item of the CPU device. */
const CHUNK_PAGES = 32;
/** Stands for minus infinity. */
const LOWEST = -3.4e38;

/** Contract of `page_scores.wgsl`. */
export const PAGE_SCORES_CONTRACT = {
  name: "page_scores",
  wgsl,
  bindings: { state: "read u32", qkv: "read f32", bounds: "read u32", rows: "write f32" },
  constants: { WORKGROUP_SIZE, HEAD_DIM: 64 },
  params: {
    stride: "u32",
    query_heads: "u32",
    kv_heads: "u32",
    capacity: "u32",
    page_tokens: "u32",
    window: "u32",
    softcap: "f32",
    scale: "f32",
  },
} as const;

/** Contract and twin of `page_scores.wgsl`. */
export const pageScores: Kernel<typeof PAGE_SCORES_CONTRACT> = defineKernel(
  PAGE_SCORES_CONTRACT,
  scoreAll,
  {
    module: CPU_MODULE,
    passes: ({ params, constants, grid: [, heads, sequences] }) => {
      const chunks = Math.ceil(params.capacity / params.page_tokens / CHUNK_PAGES);
      return [{
        entry: "page_scores",
        items: sequences * heads * chunks,
        work: CHUNK_PAGES * (constants.HEAD_DIM + params.page_tokens),
        values: { chunks, chunk_pages: CHUNK_PAGES },
      }];
    },
  },
);

function scoreAll(
  { buffers, params, constants, grid: [, , sequences] }: KernelRun<typeof PAGE_SCORES_CONTRACT>,
): void {
  const { query_heads, kv_heads, capacity, page_tokens, window, softcap, scale } = params;
  const { HEAD_DIM: headDim } = constants;
  const halves = unpackStored(buffers.bounds);
  const pages = Math.ceil(capacity / page_tokens);
  for (let row = 0; row < sequences; row++) {
    const sequence = buffers.state[0]! + row;
    const position = buffers.state[1 + sequence]!;
    const end = Math.min(4 * Math.ceil((position + 1) / 4), capacity);
    for (let head = 0; head < query_heads; head++) {
      const query = buffers.qkv.subarray(row * params.stride + head * headDim);
      const kvHead = sequence * kv_heads + Math.floor(head * kv_heads / query_heads);
      for (let token = 0; token < end; token++) {
        const page = (kvHead * pages + Math.floor(token / page_tokens)) * 2 * headDim;
        let sum = 0;
        for (let i = 0; i < headDim; i++) {
          sum += Math.max(query[i]! * halves[page + i]!, query[i]! * halves[page + headDim + i]!);
        }
        const scaled = sum * scale;
        const score = softcap > 0 ? softcap * Math.LOG2E * Math.tanh(scaled) : scaled;
        const isSeen = token <= position && (window === 0 || position - token < window);
        buffers.rows[(sequence * query_heads + head) * capacity + token] = isSeen ? score : LOWEST;
      }
    }
  }
}

/** Sizes of `page_scores`. */
export interface PageScoresShape extends PageSize, Pick<AttentionRule, "window" | "softcap"> {
  /** Sequences in the step, each with one row. */
  readonly sequences: number;
  /** Query heads. */
  readonly queryHeads: number;
  /** KV heads; divide `queryHeads`. */
  readonly kvHeads: number;
  /** Tokens that fit per sequence; a multiple of 4. */
  readonly capacity: number;
  /** Elements from one row of `qkv` to the next. */
  readonly stride: number;
  /** Factor on products. */
  readonly scale: number;
}

/**
 * Prepares the bounds of all tokens' scores.
 *
 * @param buffers What it reads and writes; see the header of its WGSL.
 * @param shape Sizes, and the rule of the layer's attention.
 * @returns The command.
 * @throws {RequirementError} If a size is not supported.
 */
export function pageScoresCommand(
  buffers: DispatchBuffers<typeof PAGE_SCORES_CONTRACT>,
  shape: PageScoresShape,
): Command {
  const action = "score pages";
  const { headDim, queryHeads, kvHeads, capacity, pageTokens, stride, scale } = shape;
  checkPages(action, shape);
  checkInteger(action, "capacity / 4", { value: capacity / 4, min: 1 });
  return dispatch({
    kernel: pageScores,
    buffers,
    constants: { HEAD_DIM: headDim },
    params: {
      stride,
      query_heads: queryHeads,
      kv_heads: kvHeads,
      capacity,
      page_tokens: pageTokens,
      window: shape.window ?? 0,
      softcap: shape.softcap ?? 0,
      scale,
    },
    grid: pageScoresGrid(shape),
  });
}

/**
 * Counts the workgroups of `page_scores`.
 *
 * @param shape Sizes of the step.
 * @returns Groups of pages, query heads, sequences.
 */
export function pageScoresGrid(
  { capacity, pageTokens, queryHeads, sequences }: Pick<
    PageScoresShape,
    "capacity" | "pageTokens" | "queryHeads" | "sequences"
  >,
): [number, number, number] {
  return [Math.ceil(capacity / pageTokens / WORKGROUP_SIZE), queryHeads, sequences];
}
