/**
 * Joins the parts of attention that `decode_attention` or `selected_attention_split` computed from splits of the keys.
 *
 * A part starts with the largest score in base 2 and the sum of the exponentials. In `decode_attention` two unused numbers
 * and the sum of values weighted by the exponentials follow. In `selected_attention_split` a part has `PART_HEADER`
 * numbers and two head vectors. After the first two numbers come the small model's mass on full and on value-only tokens;
 * its mass on full tokens other than sinks, and their sum of exponentials; how full and value-only tokens join (an index
 * in `MARGINAL_MODES`); the number of full tokens in the whole list, or `BROKEN_PART`. The vectors are the sum of values
 * weighted by the exponentials, and that of value-only tokens weighted by the small model's attention.
 *
 * `selected_attention_merge_rest` also joins the rest: the mean of the tokens that are not listed, as one more value-only
 * token. Its mass is given, or what the small model's row leaves, which is known only when all parts are there.
 *
 * @module
 */

import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { decodeMergeCode, selectedMergeCode, selectedMergeRestCode } from "./attention_cpu.ts";
import wgsl from "./attention_merge.wgsl" with { type: "text" };
import type { AttentionShape } from "./attention_shape.ts";
import { MARGINAL_MODES, marginalFactors } from "./marginal.ts";
import marginal from "./marginal.wgsl" with { type: "text" };
import { REST_HEADER, withRest } from "./rest_values.ts";
import { writeOut } from "./write_out.ts";

/** Numbers before the two vectors of a part of `selected_attention_split`. */
export const PART_HEADER: number = 8;

/** Stands for the full tokens of a broken list. */
export const BROKEN_PART: number = -1;

const CONSTANTS = { WORKGROUP_SIZE: 32, HEAD_DIM: 64 } as const;
/** Fields of `Params` that both kernels have. */
export const MERGE_PARAMS = {
  rows: "u32",
  query_heads: "u32",
  output_stride: "u32",
  splits: "u32",
} as const;

function textOf(name: string, parts: { readonly SELECTED: number; readonly REST: number }): string {
  const text = parts.SELECTED === 1 ? `${wgsl}\n${marginal}` : wgsl;
  return writeOut(text, parts).replace("fn attention_merge(", `fn ${name}(`);
}

const decodeText: string = textOf("decode_attention_merge", { SELECTED: 0, REST: 0 });
const selectedText: string = textOf("selected_attention_merge", { SELECTED: 1, REST: 0 });
const restText: string = textOf("selected_attention_merge_rest", { SELECTED: 1, REST: 1 });

/** Contract of `decode_attention_merge`. */
export const DECODE_ATTENTION_MERGE_CONTRACT = {
  name: "decode_attention_merge",
  wgsl: decodeText,
  bindings: { partial: "read f32", output: "write f32", log_sum: "write f32" },
  constants: CONSTANTS,
  params: MERGE_PARAMS,
} as const;

/** Contract and twin of `decode_attention_merge`; the grid is rows by query heads. */
export const decodeAttentionMerge: Kernel<typeof DECODE_ATTENTION_MERGE_CONTRACT> = defineKernel(
  DECODE_ATTENTION_MERGE_CONTRACT,
  (run) => mergeHeads(run, 4 + run.constants.HEAD_DIM, (parts) => mergeDecoded(run, parts)),
  decodeMergeCode,
);

/** Contract of `selected_attention_merge`. */
export const SELECTED_ATTENTION_MERGE_CONTRACT = {
  name: "selected_attention_merge",
  wgsl: selectedText,
  bindings: { partial: "read f32", output: "write f32", attention: "write f32" },
  constants: CONSTANTS,
  params: { ...MERGE_PARAMS, has_attention: "u32", attention_stride: "u32" },
} as const;

/** Contract and twin of `selected_attention_merge`; the grid is rows by query heads. */
export const selectedAttentionMerge: Kernel<typeof SELECTED_ATTENTION_MERGE_CONTRACT> =
  defineKernel(
    SELECTED_ATTENTION_MERGE_CONTRACT,
    (run) => {
      const size = PART_HEADER + 2 * run.constants.HEAD_DIM;
      mergeHeads(run, size, (parts) => mergeSelected(run, parts));
    },
    selectedMergeCode,
  );

/** Contract of `selected_attention_merge_rest`. */
export const SELECTED_ATTENTION_MERGE_REST_CONTRACT = {
  name: "selected_attention_merge_rest",
  wgsl: restText,
  bindings: {
    partial: "read f32",
    output: "write f32",
    attention: "write f32",
    rest: "read f32",
  },
  constants: CONSTANTS,
  params: {
    ...MERGE_PARAMS,
    has_attention: "u32",
    attention_stride: "u32",
    rows_per_sequence: "u32",
    rest_parts: "u32",
  },
} as const;

/** Contract and twin of `selected_attention_merge_rest`; the grid is rows by query heads. */
export const selectedAttentionMergeRest: Kernel<typeof SELECTED_ATTENTION_MERGE_REST_CONTRACT> =
  defineKernel(
    SELECTED_ATTENTION_MERGE_REST_CONTRACT,
    (run) => {
      const { buffers: { rest }, constants: { HEAD_DIM }, params } = run;
      const { query_heads, rows_per_sequence, rest_parts } = params;
      mergeHeads(run, PART_HEADER + 2 * HEAD_DIM, (parts) => {
        const { row, head } = parts;
        const sequence = Math.floor(row / rows_per_sequence);
        const place = sequence * rest_parts + Math.floor(head / (query_heads / rest_parts));
        const size = REST_HEADER + HEAD_DIM;
        mergeSelected(run, parts, rest.subarray(place * size, (place + 1) * size));
      });
    },
    selectedMergeRestCode,
  );

/** Parts of one row of one head. */
interface HeadParts {
  readonly row: number;
  readonly head: number;
  /** Index of the first element of the output. */
  readonly first: number;
  readonly parts: readonly Float32Array[];
  readonly largest: number;
  /** Sums a field over the parts: scaled to the largest score, or as stored. */
  readonly scaledSum: (field: number) => number;
  readonly plainSum: (field: number) => number;
}

function mergeHeads(
  { buffers: { partial }, constants: { HEAD_DIM }, params }:
    & Pick<
      KernelRun<typeof DECODE_ATTENTION_MERGE_CONTRACT>,
      "constants" | "params"
    >
    & { readonly buffers: { readonly partial: Float32Array } },
  size: number,
  merge: (parts: HeadParts) => void,
): void {
  const { rows, query_heads, output_stride, splits } = params;
  for (let row = 0; row < rows; row++) {
    for (let head = 0; head < query_heads; head++) {
      const parts = Array.from({ length: splits }, (_, split) => {
        const index = (split * rows + row) * query_heads + head;
        return partial.subarray(index * size, (index + 1) * size);
      });
      const largest = Math.max(...parts.map((part) => part[0]!));
      const factors = parts.map((part) => 2 ** (part[0]! - largest));
      merge({
        row,
        head,
        first: row * output_stride + head * HEAD_DIM,
        parts,
        largest,
        scaledSum: (field) => parts.reduce((sum, part, k) => sum + factors[k]! * part[field]!, 0),
        plainSum: (field) => parts.reduce((sum, part) => sum + part[field]!, 0),
      });
    }
  }
}

function mergeDecoded(
  { buffers, constants, params }: KernelRun<typeof DECODE_ATTENTION_MERGE_CONTRACT>,
  { row, head, first, largest, scaledSum }: HeadParts,
): void {
  const sum = scaledSum(1);
  for (let i = 0; i < constants.HEAD_DIM; i++) buffers.output[first + i] = scaledSum(4 + i) / sum;
  buffers.log_sum[head * params.rows + row] = (largest + Math.log2(sum)) * Math.LN2;
}

function mergeSelected(
  { buffers, constants, params }: KernelRun<typeof SELECTED_ATTENTION_MERGE_CONTRACT>,
  { row, head, first, parts, largest, scaledSum, plainSum }: HeadParts,
  restOf?: Float32Array,
): void {
  const headDim = constants.HEAD_DIM;
  const [mode, full] = parts[0]!.subarray(6, PART_HEADER);
  if (full === BROKEN_PART) return void buffers.output.fill(NaN, first, first + headDim);
  const sum = scaledSum(1);
  const listed = { kept: plainSum(2), marginal: plainSum(3), others: plainSum(4) };
  const largeOthers = scaledSum(5) / sum;
  const { rest, masses } = restOf
    ? withRest(listed, restOf[0]!, largeOthers)
    : { rest: 0, masses: listed };
  const factors = marginalFactors(MARGINAL_MODES[mode!]!, {
    kept: masses.kept,
    marginal: masses.marginal,
    marginalTokens: masses.kept + masses.marginal > 0 ? 1 : 0,
    sinks: masses.kept - masses.others,
    largeSinks: 1 - largeOthers,
  });
  for (let i = 0; i < headDim; i++) {
    const mean = restOf?.[REST_HEADER + i] ?? 0;
    buffers.output[first + i] = factors.kept * scaledSum(PART_HEADER + i) / sum +
      factors.marginal * (plainSum(PART_HEADER + headDim + i) + rest * mean);
  }
  if (params.has_attention === 0) return;
  const start = (row * params.query_heads + head) * params.attention_stride;
  for (let entry = start; entry < start + full!; entry++) {
    buffers.attention[entry] = 2 ** (buffers.attention[entry]! - largest) / sum;
  }
}

/**
 * Makes the parameters and the grid of a merge.
 *
 * @param shape Sizes of the step.
 * @param splits Parts of each row.
 * @returns Fields of a dispatch.
 */
export function mergedRows(
  { sequences, rowsPerSequence, queryHeads, outputStride }: AttentionShape,
  splits: number,
): {
  readonly params: { readonly [Name in keyof typeof MERGE_PARAMS]: number };
  readonly grid: readonly [number, number, number];
} {
  const rows = sequences * rowsPerSequence;
  return {
    params: { rows, query_heads: queryHeads, output_stride: outputStride, splits },
    grid: [rows, queryHeads, 1],
  };
}

/** Both kernels, for the tests that compare contracts with WGSL. */
export const attentionMergeSamples: readonly Kernel[] = [
  decodeAttentionMerge as unknown as Kernel,
  selectedAttentionMerge as unknown as Kernel,
  selectedAttentionMergeRest as unknown as Kernel,
];
