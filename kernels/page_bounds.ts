/**
 * The least and the largest of each element over the keys of a page: contract and twin.
 *
 * @see {@link https://arxiv.org/abs/2406.10774 | Quest}, section 3.3
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { unpackStored } from "./attention_reference.ts";
import type { KvFormat } from "./attention_shape.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./page_bounds.wgsl" with { type: "text" };
import type { WritePlace } from "./rope_cache.ts";

/** Stands for the slot of each token's position. */
const NOT_FIXED = 0xffffffff;

/** Contract of `page_bounds.wgsl`. */
export const PAGE_BOUNDS_CONTRACT = {
  name: "page_bounds",
  wgsl,
  bindings: { state: "read u32", keys: "read u32", bounds: "write u32" },
  constants: { WORKGROUP_SIZE: 64, HEAD_DIM: 64, HAS_F32_KEYS: 0 },
  params: {
    rows_per_sequence: "u32",
    kv_heads: "u32",
    capacity: "u32",
    key_capacity: "u32",
    key_slot: "u32",
    page_tokens: "u32",
  },
} as const;

/** Contract and twin of `page_bounds.wgsl`. */
export const pageBounds: Kernel<typeof PAGE_BOUNDS_CONTRACT> = defineKernel(
  PAGE_BOUNDS_CONTRACT,
  boundAll,
  {
    module: CPU_MODULE,
    passes: ({ params, constants, grid: [, pages, sequences] }) => [{
      entry: "page_bounds",
      items: params.kv_heads * pages * sequences,
      work: constants.HEAD_DIM * Math.min(params.rows_per_sequence, params.page_tokens),
      values: { pages },
    }],
  },
);

function boundAll(run: KernelRun<typeof PAGE_BOUNDS_CONTRACT>): void {
  const { buffers: { state, keys, bounds }, params, constants, grid: [, , sequences] } = run;
  const { kv_heads, capacity, key_capacity, key_slot, page_tokens } = params;
  const { HEAD_DIM: headDim } = constants;
  const vectors = unpackStored(keys, constants.HAS_F32_KEYS === 1 ? "f32" : "f16");
  const halves = unpackStored(bounds);
  const pages = Math.ceil(capacity / page_tokens);
  for (let sequence = state[0]!; sequence < state[0]! + sequences; sequence++) {
    for (let row = 0; row < params.rows_per_sequence; row++) {
      const token = state[1 + sequence]! + row;
      if (token >= capacity) continue;
      const slot = key_slot === NOT_FIXED ? token : key_slot;
      for (let head = sequence * kv_heads; head < (sequence + 1) * kv_heads; head++) {
        const page = (head * pages + Math.floor(token / page_tokens)) * 2 * headDim;
        for (let i = 0; i < headDim; i++) {
          const value = vectors[(head * key_capacity + slot) * headDim + i]!;
          const isFirst = token % page_tokens === 0;
          halves[page + i] = isFirst ? value : Math.min(halves[page + i]!, value);
          const largest = page + headDim + i;
          halves[largest] = isFirst ? value : Math.max(halves[largest]!, value);
        }
      }
    }
  }
}

/** Sizes of pages. */
export interface PageSize {
  /** Elements of a head; a multiple of 8. */
  readonly headDim: number;
  /** Tokens of a page; a multiple of 4. */
  readonly pageTokens: number;
}

/** Sizes of `page_bounds`. */
export interface PageBoundsShape extends PageSize {
  /** How keys are stored; `f16` if left out. */
  readonly keyFormat?: KvFormat | undefined;
  /** Sequences in the step. */
  readonly sequences: number;
  /** New tokens of each sequence. */
  readonly rowsPerSequence: number;
  /** KV heads of a layer. */
  readonly kvHeads: number;
  /** Tokens that fit per sequence. */
  readonly capacity: number;
  /** Where the only new key of each sequence is; at its position of a cache with the same capacity if left out. */
  readonly write?: WritePlace | undefined;
}

/**
 * Checks sizes.
 *
 * @param action What could not be done.
 * @param size Elements of a head, tokens of a page.
 * @throws {RequirementError} If they are not multiples of 8 and of 4.
 */
export function checkPages(action: string, { headDim, pageTokens }: PageSize): void {
  checkInteger(action, "headDim / 8", { value: headDim / 8, min: 1 });
  checkInteger(action, "tokens of a page / 4", { value: pageTokens / 4, min: 1 });
}

/**
 * Prepares the bounds of the pages that a step's new keys belong to, once they are written.
 *
 * @param buffers What it reads and writes; see the header of its WGSL.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If a size is not supported, or several new keys of a sequence would be read from one slot.
 */
export function pageBoundsCommand(
  buffers: DispatchBuffers<typeof PAGE_BOUNDS_CONTRACT>,
  shape: PageBoundsShape,
): Command {
  const action = "bound keys";
  const { headDim, rowsPerSequence, kvHeads, capacity, pageTokens, write } = shape;
  checkPages(action, shape);
  if (write) checkInteger(action, "rowsPerSequence", { value: rowsPerSequence, min: 1, max: 1 });
  return dispatch({
    kernel: pageBounds,
    buffers,
    constants: { HEAD_DIM: headDim, HAS_F32_KEYS: shape.keyFormat === "f32" ? 1 : 0 },
    params: {
      rows_per_sequence: rowsPerSequence,
      kv_heads: kvHeads,
      capacity,
      key_capacity: write?.capacity ?? capacity,
      key_slot: write?.slot ?? NOT_FIXED,
      page_tokens: pageTokens,
    },
    grid: pageBoundsGrid(shape),
  });
}

/**
 * Counts the workgroups of `page_bounds`.
 *
 * @param shape Sizes of the step.
 * @returns KV heads, pages, sequences.
 */
export function pageBoundsGrid(
  { kvHeads, rowsPerSequence, pageTokens, sequences }: Pick<
    PageBoundsShape,
    "kvHeads" | "rowsPerSequence" | "pageTokens" | "sequences"
  >,
): [number, number, number] {
  return [kvHeads, Math.ceil((rowsPerSequence - 1) / pageTokens) + 1, sequences];
}
