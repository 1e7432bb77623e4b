/**
 * Attention of a step's rows to the cached keys and values, without storing scores: whole, or in splits of the keys.
 *
 * A decode step of few sequences has fewer rows than a GPU has cores, so splits of the keys go to different
 * workgroups, and `attention_merge` joins their parts.
 *
 * @see {@link https://arxiv.org/abs/2205.14135 | FlashAttention}, the online softmax;
 *   {@link https://pytorch.org/blog/flash-decoding | Flash-Decoding}
 * @module
 */

import { RequirementError } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { decodeCode, flashCode } from "./attention_cpu.ts";
import { decodeAttentionMerge, mergedRows } from "./attention_merge.ts";
import {
  headStart,
  logSumExp,
  rowPlace,
  rowScores,
  slotOf,
  unpackStored,
} from "./attention_reference.ts";
import {
  ATTENTION_INPUTS,
  ATTENTION_PARAMS,
  attentionParams,
  type AttentionShape,
  type AttentionVariant,
  type LaneUse,
} from "./attention_shape.ts";
import { type AttentionContract, attentionText, sinkBinding, variantOf } from "./attention_text.ts";
import {
  broadcastOf,
  chooseAttention,
  sharedBytes,
  sharedConstants,
  sharedTile,
} from "./attention_tile.ts";
import wgsl from "./flash_attention.wgsl" with { type: "text" };
import type { AdapterFeatures } from "./shapes.ts";
import sharedWgsl from "./shared_attention.wgsl" with { type: "text" };
import sharedRows from "./shared_rows.wgsl" with { type: "text" };

const INPUTS = { ...ATTENTION_INPUTS, values: "read u32", visible: "read u32" } as const;

/** Storage buffers of `flash_attention`. */
export const FLASH_BINDINGS = { ...INPUTS, output: "write f32", log_sum: "write f32" } as const;

/** Storage buffers of `decode_attention`. */
export const DECODE_BINDINGS = { ...INPUTS, partial: "write f32" } as const;

/** Fields of `Params` of `decode_attention`. */
export const DECODE_PARAMS = { ...ATTENTION_PARAMS, splits: "u32" } as const;

/** Contract of every variant of `flash_attention`. */
export type FlashContract = AttentionContract<typeof FLASH_BINDINGS, typeof ATTENTION_PARAMS>;

/** Contract of every variant of `decode_attention`. */
export type DecodeContract = AttentionContract<typeof DECODE_BINDINGS, typeof DECODE_PARAMS>;

/** Numbers before the weighted sum of a part: largest score in base 2, sum of the exponentials, two unused. */
const PART_HEADER = 4;

/** Most splits of a sequence's keys. */
const MAX_SPLITS = 32;

/** What the text of a variant of `flash_attention` depends on. */
export interface FlashVariant extends AttentionVariant {
  /** Rows of a KV head: new tokens times query heads of the group. */
  readonly rows: number;
}

/** How much one workgroup does at a time. */
export interface FlashTile {
  /** Query rows of each lane. */
  readonly laneRows: number;
  /** Query rows of a workgroup. */
  readonly rows: number;
  /** Keys between two rescalings. */
  readonly keys: number;
  /** Keys loaded together. */
  readonly tileKeys: number;
}

/**
 * Chooses how much a workgroup does at a time: on software adapters what was fastest there.
 *
 * @param variant Head size, and how lanes are used.
 * @param rows Rows of a KV head.
 * @returns The tile.
 */
export function flashTile(
  variant: LaneUse & Pick<AttentionVariant, "headDim">,
  rows: number,
): FlashTile {
  const { headDim, subgroupSize, layout } = variant;
  if (layout === "shared") {
    const tile = sharedTile(variant, rows);
    return { laneRows: 1, rows: tile.rows, keys: tile.keys, tileKeys: tile.keys };
  }
  const { lanes, isSubgroup } = broadcastOf(subgroupSize);
  if (!isSubgroup) return { laneRows: 1, rows: lanes, keys: 2, tileKeys: headDim > 128 ? 8 : 16 };
  if (rows <= lanes) return { laneRows: 1, rows: lanes, keys: 4, tileKeys: 4 };
  const keys = headDim > 80 ? 2 : 4;
  return { laneRows: 2, rows: 2 * lanes, keys, tileKeys: keys };
}

/** Entry point, text and needs of a variant of either kernel. */
function flashText(variant: AttentionVariant, tile: FlashTile, isSplit = false) {
  const { headDim, layout } = variant;
  const stem = isSplit ? "decode_attention" : "flash_attention";
  const flags = { SPLIT: isSplit ? 1 : 0, ATTENDS: 1, MASKS: 1 };
  if (layout === "shared") {
    const shared = sharedTile(variant, tile.rows);
    const text = attentionText(variant, {
      wgsl: `${sharedWgsl}\n${sharedRows}`,
      entry: "shared_attention",
      stem: tile.rows > 8 ? `${stem}_rows` : stem,
      tileVectors: 1,
      constants: { ...sharedConstants(headDim, shared), ...flags },
    });
    return { ...text, constants: {}, workgroupBytes: sharedBytes(headDim, shared) };
  }
  const { laneRows, keys, tileKeys } = tile;
  const { isSubgroup } = broadcastOf(variant.subgroupSize);
  return {
    ...attentionText(variant, {
      wgsl,
      entry: "flash_attention",
      stem: laneRows > 1 ? `${stem}_rows` : stem,
      tileVectors: keys,
      constants: { LANE_ROWS: laneRows, KEYS: keys, TILE_KEYS: tileKeys, ...flags },
    }),
    constants: {},
    ...(!isSubgroup && { workgroupBytes: keyValueBytes(headDim, tileKeys) }),
  };
}

/**
 * Counts the bytes of tiles of keys and values in workgroup memory.
 *
 * @param headDim Elements of a head.
 * @param tileKeys Keys of a tile.
 * @returns Bytes.
 */
export function keyValueBytes(headDim: number, tileKeys: number): number {
  return 2 * 4 * headDim * tileKeys;
}

/**
 * Makes a variant of `flash_attention`.
 *
 * @param variant What the text depends on.
 * @returns The kernel.
 * @throws {RequirementError} If there is no such variant.
 */
export function flashAttention(variant: FlashVariant): Kernel<FlashContract> {
  const contract = {
    ...flashText(variant, flashTile(variant, variant.rows)),
    bindings: { ...FLASH_BINDINGS, ...sinkBinding(variant) },
    params: ATTENTION_PARAMS,
  };
  return defineKernel<FlashContract>(
    contract,
    (run) => attendWhole(run, variant),
    flashCode(variant),
  );
}

function attendWhole(run: KernelRun<FlashContract>, variant: FlashVariant): void {
  const { buffers, params } = run;
  const { headDim, ring } = variant;
  const values = unpackStored(buffers.values, variant.valueFormat, headDim);
  for (let row = 0; row < params.rows; row++) {
    const { sequence } = rowPlace(run, row);
    for (let head = 0; head < params.query_heads; head++) {
      const scores = rowScores(run, { ...variant, row, head });
      const logSum = logSumExp(scores, buffers.sinks?.[head]);
      const first = headStart(run, { sequence, head, headDim, ring });
      const output = new Float64Array(headDim);
      scores.forEach((score, key) => {
        const attention = Math.exp(score - logSum);
        const value = first + slotOf(key, ring) * headDim;
        for (let i = 0; i < headDim; i++) output[i]! += attention * values[value + i]!;
      });
      buffers.output.set(output, row * params.output_stride + head * headDim);
      buffers.log_sum[head * params.rows + row] = logSum;
    }
  }
}

/**
 * Makes a variant of `decode_attention`.
 *
 * @param variant What the text depends on.
 * @returns The kernel.
 * @throws {RequirementError} If there is no such variant.
 */
export function decodeAttention(variant: AttentionVariant): Kernel<DecodeContract> {
  const tile = flashTile(variant, 1);
  const contract = {
    ...flashText(variant, tile, true),
    bindings: { ...DECODE_BINDINGS, ...sinkBinding(variant) },
    params: DECODE_PARAMS,
  };
  const sizes = { ...variant, tileRows: tile.rows, tileKeys: tile.tileKeys };
  return defineKernel<DecodeContract>(
    contract,
    (run) => attendSplits(run, sizes),
    decodeCode(sizes),
  );
}

/** Sizes that decide which keys belong to a split. */
interface SplitSizes extends AttentionVariant {
  readonly tileRows: number;
  readonly tileKeys: number;
}

function attendSplits(run: KernelRun<DecodeContract>, sizes: SplitSizes): void {
  const { buffers, params } = run;
  const { headDim, ring } = sizes;
  const values = unpackStored(buffers.values, sizes.valueFormat, headDim);
  for (let row = 0; row < params.rows; row++) {
    const { sequence } = rowPlace(run, row);
    for (let head = 0; head < params.query_heads; head++) {
      const scores = rowScores(run, { ...sizes, row, head });
      const firstValue = headStart(run, { sequence, head, headDim, ring });
      const { begin, length } = splitRange(run, { row, head, sizes });
      for (let split = 0; split < params.splits; split++) {
        const part = new Float64Array(PART_HEADER + headDim);
        const first = begin + split * length;
        const range = scores.subarray(first, first + length).map((score) => score * Math.LOG2E);
        const sink = split === 0 ? buffers.sinks?.[head] : undefined;
        const start = sink === undefined ? -3.4e38 : sink * Math.LOG2E;
        const largest = range.reduce((most, score) => Math.max(most, score), start);
        part.set([largest, sink === undefined ? 0 : 2 ** (start - largest)]);
        range.forEach((score, index) => {
          const weight = 2 ** (score - largest);
          part[1]! += weight;
          const value = firstValue + slotOf(first + index, ring) * headDim;
          for (let i = 0; i < headDim; i++) part[PART_HEADER + i]! += weight * values[value + i]!;
        });
        const place = (split * params.rows + row) * params.query_heads + head;
        buffers.partial.set(part, place * (PART_HEADER + headDim));
      }
    }
  }
}

/** All rows of a workgroup split their keys at the same places, from the first key that any of them sees to the last. */
function splitRange(
  run: KernelRun<DecodeContract>,
  { row, head, sizes }: {
    readonly row: number;
    readonly head: number;
    readonly sizes: SplitSizes;
  },
): { readonly begin: number; readonly length: number } {
  const { rows_per_sequence, query_heads, kv_heads, splits, capacity } = run.params;
  const { tileRows, tileKeys, window = Infinity } = sizes;
  const groupSize = query_heads / kv_heads;
  const token = row % rows_per_sequence;
  const start = rowPlace(run, row).position - token;
  const firstRow = Math.floor((token * groupSize + head % groupSize) / tileRows) * tileRows;
  const lastRow = Math.min(firstRow + tileRows, rows_per_sequence * groupSize) - 1;
  const firstSeen = Math.max(0, start + Math.floor(firstRow / groupSize) + 1 - window);
  const begin = Math.floor(firstSeen / tileKeys) * tileKeys;
  const end = Math.min(start + Math.floor(lastRow / groupSize) + 1, capacity);
  return { begin, length: Math.ceil((end - begin) / (splits * tileKeys)) * tileKeys };
}

/** Buffers of `flash_attention`: see the header of its file; `visible` only where positions are masked. */
export type FlashBuffers =
  & Omit<DispatchBuffers<FlashContract>, "visible" | "sinks">
  & Partial<Pick<DispatchBuffers<FlashContract>, "visible">>;

/**
 * Prepares attention of a step of any number of rows.
 *
 * @param info The device, for the choice of the variant.
 * @param options Buffers and sizes.
 * @returns The command.
 * @throws {RequirementError} If the sizes do not fit together.
 */
export function flashAttentionCommand(
  info: AdapterFeatures,
  { shape, buffers }: { readonly shape: AttentionShape; readonly buffers: FlashBuffers },
): Command {
  const params = attentionParams(shape);
  const variant = flashVariant(info, shape);
  const { output, log_sum } = buffers;
  return dispatch({
    kernel: flashAttention(variant),
    buffers: { ...inputsOf(shape, buffers), output, log_sum },
    params,
    grid: flashAttentionGrid(shape, variant),
  });
}

/** Where nothing is masked, any buffer can stand in for `visible`. */
function inputsOf({ sinks }: AttentionShape, buffers: FlashBuffers) {
  const { state, qkv, keys, values, visible = state } = buffers;
  return { state, qkv, keys, values, visible, ...(sinks && { sinks }) };
}

/**
 * Chooses the variant for a step.
 *
 * @param info The device.
 * @param shape Sizes of the step.
 * @returns The variant.
 */
export function flashVariant(
  info: AdapterFeatures,
  shape: AttentionShape,
): FlashVariant {
  return {
    ...variantOf(shape, info, "prompt"),
    rows: shape.rowsPerSequence * shape.queryHeads / shape.kvHeads,
  };
}

/**
 * Counts the workgroups of `flash_attention`.
 *
 * @param shape Sizes of the step.
 * @param variant The variant chosen for it.
 * @returns Tiles of rows, KV heads, sequences.
 */
export function flashAttentionGrid(
  shape: AttentionShape,
  variant: FlashVariant,
): [number, number, number] {
  const tile = flashTile(variant, variant.rows);
  return [Math.ceil(variant.rows / tile.rows), shape.kvHeads, shape.sequences];
}

/**
 * Chooses into how many parts the keys are split.
 *
 * A software adapter has few cores, which the KV heads keep busy; a split would only add a dispatch.
 *
 * @param info The device.
 * @param shape Elements of a head, and positions that the cache has room for.
 * @returns The number of splits, 1 for none.
 */
export function decodeSplits(
  info: AdapterFeatures,
  { headDim, capacity }: Pick<AttentionShape, "headDim" | "capacity">,
): number {
  const tile = chooseAttention(info, { phase: "decode", headDim });
  return tile ? Math.min(MAX_SPLITS, Math.ceil(capacity / tile.splitKeys)) : 1;
}

/**
 * Counts the bytes of the scratch buffer of decode attention.
 *
 * @param info The device.
 * @param shape Sizes of the step.
 * @returns Bytes, 0 where keys are not split.
 */
export function decodePartialBytes(info: AdapterFeatures, shape: AttentionShape): number {
  const splits = decodeSplits(info, shape);
  return splits === 1 ? 0 : partialBytes(shape, splits);
}

/** Bytes of the parts of a step. */
function partialBytes(shape: AttentionShape, splits: number): number {
  const rows = shape.sequences * shape.rowsPerSequence;
  return 4 * splits * rows * shape.queryHeads * (PART_HEADER + shape.headDim);
}

/**
 * Prepares attention of a decode step.
 *
 * @param info The device, for the choice of the variant.
 * @param options Buffers and sizes; `partial` is scratch of `decodePartialBytes` bytes, not needed where keys are not
 *   split, and `splits` overrides the choice of `decodeSplits`.
 * @returns One command, or two where keys are split.
 * @throws {RequirementError} If the sizes do not fit together.
 * @throws {RequirementError} If keys are split and `partial` is missing.
 */
export function decodeAttentionCommands(
  info: AdapterFeatures,
  options: {
    readonly shape: AttentionShape;
    readonly buffers: FlashBuffers & Partial<Pick<DispatchBuffers<DecodeContract>, "partial">>;
    readonly splits?: number;
  },
): Command[] {
  const { shape, buffers } = options;
  const { partial, output, log_sum } = buffers;
  const splits = options.splits ?? decodeSplits(info, shape);
  if (splits === 1) return [flashAttentionCommand(info, { shape, buffers })];
  if (partial === undefined) {
    throw new RequirementError({
      action: "compute attention",
      requirement: `"partial" must have ${partialBytes(shape, splits)} bytes`,
      current: "undefined",
    });
  }
  const variant = variantOf(shape, info, "decode");
  return [
    dispatch({
      kernel: decodeAttention(variant),
      buffers: { ...inputsOf(shape, buffers), partial },
      params: { ...attentionParams(shape), splits },
      grid: decodeAttentionGrid(variant, splits),
    }),
    dispatch({
      kernel: decodeAttentionMerge,
      buffers: { partial, output, log_sum },
      constants: { HEAD_DIM: shape.headDim },
      ...mergedRows(shape, splits),
    }),
  ];
}

/**
 * Counts the workgroups of `decode_attention`.
 *
 * @param shape Sizes of the step, and how lanes are used.
 * @param splits Parts of the keys.
 * @returns Splits; tiles of rows times KV heads; sequences.
 */
export function decodeAttentionGrid(
  shape: AttentionShape & AttentionVariant,
  splits: number,
): [number, number, number] {
  const rows = shape.rowsPerSequence * shape.queryHeads / shape.kvHeads;
  const tiles = Math.ceil(rows / flashTile(shape, 1).rows);
  return [splits, tiles * shape.kvHeads, shape.sequences];
}

/** Variants for the tests that compare contracts with WGSL. */
export function flashAttentionSamples(): Kernel[] {
  const narrow = { headDim: 64, subgroupSize: 8, rows: 896 };
  const wide = { headDim: 64, subgroupSize: 0, rows: 7 };
  const shared = { headDim: 64, subgroupSize: 0, layout: "shared" } as const;
  const rule = { window: 100, softcap: 50, hasSinks: true };
  const ringed = { ...rule, ring: 1024 };
  return [
    flashAttention({ ...narrow, rows: 7 }),
    flashAttention({ ...narrow, headDim: 128 }),
    flashAttention(wide),
    flashAttention({ ...narrow, keyFormat: "f32" }),
    flashAttention({ ...wide, keyFormat: "f32" }),
    flashAttention({ ...wide, valueFormat: "f32" }),
    flashAttention({ ...narrow, keyFormat: "f32", valueFormat: "f32" }),
    flashAttention({ ...narrow, keyFormat: "u4", valueFormat: "u4" }),
    flashAttention({ ...wide, keyFormat: "u8", valueFormat: "u8" }),
    flashAttention({ ...narrow, ...rule }),
    flashAttention({ ...wide, ...rule }),
    flashAttention({ ...narrow, ...ringed }),
    flashAttention({ ...wide, ...ringed }),
    decodeAttention(narrow),
    decodeAttention({ ...wide, headDim: 128 }),
    decodeAttention({ ...wide, keyFormat: "f32" }),
    decodeAttention({ ...wide, ...rule }),
    decodeAttention({ ...narrow, ...ringed }),
    ...[7, 896].flatMap((rows) => [
      flashAttention({ ...shared, rows }),
      flashAttention({ ...shared, ...ringed, keyFormat: "f32", valueFormat: "f32", rows }),
    ]),
    decodeAttention({ ...shared, headDim: 128 }),
    decodeAttention({ ...shared, keyFormat: "u4", valueFormat: "u4" }),
    decodeAttention({ ...shared, ...rule, headDim: 256 }),
  ] as unknown as Kernel[];
}
