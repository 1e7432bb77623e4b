/**
 * How the CPU device runs attention: passes and memory of `flash_attention.as` and its kind.
 *
 * @module
 */

import type { CpuModule, CpuPass } from "../gpu/cpu_module.ts";
import type { AttentionParams, AttentionVariant } from "./attention_shape.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import { kvBits } from "./quantized_rows.ts";

/** Rows that share the conversion of keys and values; even. */
const BLOCK_ROWS = 32;

/** Keys that are summed up by themselves, so that several threads can share the keys of a row. */
const CHUNK_KEYS = 1024;

/** Items that keep threads busy; where there are fewer, chunks of keys become items. */
const ENOUGH_ITEMS = 16;

/** Sizes in `attention.as` and `flash_attention.as`. */
const TILE = 64;
const ROW_BYTES = 32;
const BLOCK_BYTES = 64;
const PART_HEADER = 4;

/** Sizes of a step that decide how it runs. */
export type StepParams = Pick<
  AttentionParams,
  "rows" | "rows_per_sequence" | "capacity" | "query_heads" | "kv_heads"
>;

interface Run {
  readonly params: StepParams;
}

/** How the CPU device runs a kernel whose sizes are written into its text. */
export interface StepCode<Params extends StepParams> {
  /** Code of the entries. */
  readonly module: CpuModule;
  /** What is written into the text. */
  readonly extras: Readonly<Record<string, number>>;
  /** Passes of a run. */
  passes(run: { readonly params: Params }): readonly CpuPass[];
  /** Bytes of memory that passes hand over. */
  scratchBytes?(run: { readonly params: Params }): number;
  /** Bytes of memory of a thread. */
  threadBytes(run: { readonly params: Params }): number;
}

/**
 * Fields of arguments that WGSL has in its text.
 *
 * @param variant What the text depends on.
 * @returns A number for each; `sinks` stands for none until a buffer is bound.
 */
export function attentionExtras(variant: AttentionVariant): Record<string, number> {
  return {
    head_dim: variant.headDim,
    key_bits: kvBits(variant.keyFormat),
    value_bits: kvBits(variant.valueFormat),
    window: variant.window ?? 0,
    ring: variant.ring ?? 0,
    softcap: variant.softcap ?? 0,
    sinks: 0,
  };
}

/** Vector operations of one row and some keys; half of a capacity is taken to be in use. */
function attentionWork({ params, headDim, rows }: Run & BlockSizes, keys: number): number {
  const used = Math.min(keys, params.capacity / 2);
  return Math.ceil(used * headDim / 4 * (10 + 4 * rows));
}

interface BlockSizes {
  readonly headDim: number;
  readonly rows: number;
}

/** Blocks of rows of all KV heads, and the rows of each. */
function blocksOf({ params }: Run, blockRows: number): { items: number; rows: number } {
  const rows = params.rows_per_sequence * params.query_heads / params.kv_heads;
  const pairs = params.rows / params.rows_per_sequence * params.kv_heads;
  return { items: pairs * Math.ceil(rows / blockRows), rows: Math.min(rows, blockRows) };
}

/** Bytes of a thread: rows, scores, a tile, and parts of each row. */
function blockBytes(
  headDim: number,
  sizes: { readonly blockRows: number; readonly parts: number },
) {
  const { blockRows, parts } = sizes;
  return BLOCK_BYTES + 64 * Math.ceil(blockRows * ROW_BYTES / 64) +
    4 * TILE * (blockRows + headDim) + 4 * parts * blockRows * (PART_HEADER + headDim);
}

/**
 * Runs `flash_attention`.
 *
 * @param variant What its text depends on.
 * @returns Its code for the CPU.
 */
export function flashCode(variant: AttentionVariant): StepCode<StepParams> {
  const { headDim } = variant;
  const chunksOf = ({ params }: Run) => Math.ceil(params.capacity / CHUNK_KEYS);
  const isChunked = (run: Run) =>
    chunksOf(run) > 1 && blocksOf(run, BLOCK_ROWS).items < ENOUGH_ITEMS;
  return {
    module: CPU_MODULE,
    extras: { ...attentionExtras(variant), block_rows: BLOCK_ROWS, chunk_keys: CHUNK_KEYS },
    passes(run) {
      const { items, rows } = blocksOf(run, BLOCK_ROWS);
      const workOf = (keys: number) => attentionWork({ ...run, headDim, rows }, keys);
      if (!isChunked(run)) {
        return [{ entry: "flash_attention", items, work: workOf(run.params.capacity) }];
      }
      const chunks = chunksOf(run);
      return [
        { entry: "flash_attention_chunks", items: items * chunks, work: workOf(CHUNK_KEYS) },
        { entry: "flash_attention_merge", items, work: chunks * rows * headDim },
      ];
    },
    scratchBytes: (run: Run) =>
      isChunked(run)
        ? chunksOf(run) * blocksOf(run, BLOCK_ROWS).items * BLOCK_ROWS * 4 * (PART_HEADER + headDim)
        : 0,
    threadBytes: () => blockBytes(headDim, { blockRows: BLOCK_ROWS, parts: 2 }),
  };
}

/**
 * Runs `decode_attention`.
 *
 * @param variant What its text depends on, and the tile that decides which keys belong to a split.
 * @returns Its code for the CPU.
 */
export function decodeCode(
  variant: AttentionVariant & { readonly tileRows: number; readonly tileKeys: number },
): StepCode<StepParams & { readonly splits: number }> {
  const { headDim, tileRows, tileKeys } = variant;
  return {
    module: CPU_MODULE,
    extras: { ...attentionExtras(variant), block_rows: tileRows, tile_keys: tileKeys },
    passes(run) {
      const { splits, capacity } = run.params;
      const { items, rows } = blocksOf(run, tileRows);
      const work = attentionWork({ ...run, headDim, rows }, capacity / splits);
      return [{ entry: "decode_attention", items: items * splits, work }];
    },
    threadBytes: () => blockBytes(headDim, { blockRows: tileRows, parts: 0 }),
  };
}

/** How the merge of a head's splits runs. */
export interface MergeCode {
  /** Code of its entry. */
  readonly module: CpuModule;
  /** Fields that only some of these kernels have. */
  readonly extras?: Readonly<Record<string, number>>;
  /** One pass over rows and query heads. */
  passes(run: {
    readonly params: { rows: number; query_heads: number; splits: number };
    readonly constants: { HEAD_DIM: number };
  }): CpuPass[];
  /** Bytes of a thread's sums. */
  threadBytes(run: { readonly constants: { HEAD_DIM: number } }): number;
}

/** Runs a kernel of `attention_merge`; `elementWork` is what a split takes for each element of a head. */
function mergeCode(
  entry: string,
  elementWork: number,
  bytesOf: (headDim: number) => number,
): MergeCode {
  return {
    module: CPU_MODULE,
    passes: ({ params, constants }) => [{
      entry,
      items: params.rows * params.query_heads,
      work: elementWork * params.splits * constants.HEAD_DIM,
    }],
    threadBytes: ({ constants }) => bytesOf(constants.HEAD_DIM),
  };
}

/** Runs `decode_attention_merge`. */
export const decodeMergeCode: MergeCode = mergeCode(
  "decode_attention_merge",
  1,
  (headDim) => 4 * (PART_HEADER + headDim),
);

/**
 * Runs a kernel of `attention_columns`.
 *
 * @param variant What its text depends on.
 * @param kind Which of them.
 * @returns Its code for the CPU.
 */
export function columnsCode(
  variant: AttentionVariant,
  kind: "sums" | "map" | "rows",
): StepCode<StepParams & { readonly map_stride?: number }> {
  const { headDim } = variant;
  return {
    module: CPU_MODULE,
    extras: { ...attentionExtras(variant), visible: 0 },
    passes({ params }) {
      const { rows, rows_per_sequence, kv_heads, query_heads, capacity, map_stride } = params;
      const heads = map_stride === undefined ? query_heads / kv_heads : 1;
      const pairs = rows / rows_per_sequence * (map_stride === undefined ? kv_heads : 1);
      const items = pairs * Math.ceil((map_stride ?? capacity) / TILE);
      // About half of the rows see a key.
      const work = TILE * headDim / 4 * (4 + rows_per_sequence * heads);
      return [{ entry: `attention_${kind}`, items, work }];
    },
    threadBytes: () => 32 + 2 * ROW_BYTES + 4 * TILE * (3 + headDim),
  };
}

/**
 * Runs `softmax_sums`.
 *
 * @param variant What its text depends on.
 * @param blockRows Rows that are summed by themselves.
 * @returns Its code for the CPU.
 */
export function softmaxSumsCode(
  variant: AttentionVariant,
  blockRows: number,
): StepCode<StepParams> {
  const { headDim } = variant;
  const paddedKeys = ({ params }: Run) => TILE * Math.ceil(params.capacity / TILE);
  return {
    module: CPU_MODULE,
    extras: { ...attentionExtras(variant), block_rows: blockRows },
    passes(run) {
      const { rows, query_heads } = run.params;
      const items = query_heads * Math.ceil(rows / blockRows);
      const work = attentionWork({ ...run, headDim, rows: blockRows }, paddedKeys(run));
      return [{ entry: "softmax_sums", items, work }];
    },
    threadBytes: (run: Run) =>
      2 * (ROW_BYTES + 4 * PART_HEADER) + 4 * paddedKeys(run) * (3 + headDim),
  };
}

/** Sizes of a step on lists. */
export type ListParams =
  & StepParams
  & { readonly groups_per_layer: number; readonly list_words: number; readonly splits?: number };

const LIST_ROW_BYTES = 64;

/**
 * Runs `selected_attention` or `selected_attention_split`.
 *
 * @param variant What its text depends on.
 * @param tileKeys What decides which entries belong to a split; 0 if there are none.
 * @returns Its code for the CPU.
 */
export function selectedCode(variant: AttentionVariant, tileKeys = 0): StepCode<ListParams> {
  const { headDim } = variant;
  return {
    module: CPU_MODULE,
    extras: {
      ...attentionExtras(variant),
      block_rows: BLOCK_ROWS,
      chunk_keys: CHUNK_KEYS,
      tile_keys: tileKeys,
    },
    passes({ params }) {
      const { rows, rows_per_sequence, query_heads, kv_heads, groups_per_layer } = params;
      const parts = Math.max(kv_heads, groups_per_layer);
      const blockRows = rows_per_sequence * query_heads / parts;
      const items = rows / rows_per_sequence * parts * Math.ceil(blockRows / BLOCK_ROWS);
      const { splits = 1, list_words } = params;
      // Half of the room of a list is taken to be in use.
      const work = list_words / 4 / splits * headDim / 4 * (10 + 4 * blockRows);
      const entry = tileKeys === 0 ? "selected_attention" : "selected_attention_split";
      return [{ entry, items: items * splits, work }];
    },
    threadBytes: () =>
      BLOCK_BYTES + BLOCK_ROWS * LIST_ROW_BYTES + 4 * TILE * (1 + BLOCK_ROWS + headDim) +
      4 * BLOCK_ROWS * (2 * PART_HEADER + 3 * headDim),
  };
}

/** Runs `selected_attention_merge_rest`. */
export const selectedMergeRestCode: MergeCode = mergeCode(
  "selected_attention_merge",
  4,
  (headDim) => 32 + 8 * headDim,
);

/** Runs `selected_attention_merge`, the same without a rest. */
export const selectedMergeCode: MergeCode = {
  ...selectedMergeRestCode,
  extras: { rest: 0, rows_per_sequence: 1, rest_parts: 1 },
};
