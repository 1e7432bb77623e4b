/**
 * Attention of few rows to long lists: splits of a list go to different workgroups, then their parts are merged.
 *
 * A software adapter has few cores, which the KV heads keep busy; others need more workgroups than a decode step of few
 * sequences has KV heads.
 *
 * @see {@link https://pytorch.org/blog/flash-decoding | Flash-Decoding}
 * @module
 */

import {
  type BufferWindow,
  type Command,
  type DeviceBuffer,
  type DeviceInfo,
  dispatch,
} from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelContract, type KernelRun } from "../gpu/kernel.ts";
import type { AttentionShape } from "./attention_input.ts";
import type { FlashVariant } from "./flash_attention.ts";
import { MARGINAL_MODES } from "./marginal.ts";
import {
  SELECTED_ATTENTION_PARAMS,
  type SelectedAttentionBuffers,
  selectedAttentionCommand,
  selectedAttentionGrid,
  selectedAttentionParams,
  selectedContract,
  type SelectionShape,
} from "./selected_attention.ts";
import { BROKEN_PART, PART_HEADER, selectedAttentionMerge } from "./selected_attention_merge.ts";
import {
  keptScores,
  massesOf,
  placeOf,
  type SelectedPlace,
  type SelectedVariant,
  total,
  weightedSum,
} from "./selected_attention_reference.ts";
import { listRoom } from "./selection_list.ts";

/** Storage buffers of `selected_attention_split`. */
export const SELECTED_SPLIT_BINDINGS = {
  state: "read u32",
  qkv: "read f32",
  keys: "read u32",
  values: "read u32",
  lists: "read u32",
  helper: "read f32",
  partial: "write f32",
  weights: "write f32",
} as const;

/** Fields of `Params` of `selected_attention_split`. */
export const SELECTED_SPLIT_PARAMS = { ...SELECTED_ATTENTION_PARAMS, splits: "u32" } as const;

/** Contract of every variant of `selected_attention_split`. */
export interface SelectedSplitContract extends KernelContract {
  /** Storage buffers. */
  readonly bindings: typeof SELECTED_SPLIT_BINDINGS;
  /** There are none: sizes that matter are written into the text. */
  readonly constants: Record<never, number>;
  /** Sizes, choices and the number of splits. */
  readonly params: typeof SELECTED_SPLIT_PARAMS;
}

/** Entries of the shortest split of a full list; fewer do not pay for the merge. */
const SPLIT_ENTRIES = 64;

/** Most splits of a list. */
const MAX_SPLITS = 32;

/**
 * Makes a variant of the kernel.
 *
 * @param variant Head size, subgroup size, storage of keys and values.
 * @returns The kernel.
 * @throws {RangeError} If there is no variant for the head size.
 */
export function selectedAttentionSplit(
  variant: Omit<FlashVariant, "rows">,
): Kernel<SelectedSplitContract> {
  const { headDim, keyFormat, valueFormat } = variant;
  const { contract, tileKeys } = selectedContract("selected_attention_split", variant, {
    bindings: SELECTED_SPLIT_BINDINGS,
    params: SELECTED_SPLIT_PARAMS,
    isSplit: true,
  });
  return defineKernel(
    contract,
    (run) => selectedSplitReference(run, { headDim, keyFormat, valueFormat, tileKeys }),
  );
}

type SplitRun = KernelRun<SelectedSplitContract>;
type SplitVariant = SelectedVariant & { readonly tileKeys: number };

function selectedSplitReference(run: SplitRun, variant: SplitVariant): void {
  const { buffers, params } = run;
  const size = PART_HEADER + 2 * variant.headDim;
  for (let row = 0; row < params.rows; row++) {
    for (let head = 0; head < params.query_heads; head++) {
      const place = placeOf(run, row, head);
      for (let split = 0; split < params.splits; split++) {
        const part = place ? partOf(run, place, { ...variant, split }) : brokenPart(size);
        const index = (split * params.rows + row) * params.query_heads + head;
        buffers.partial.set(part, index * size);
      }
    }
  }
}

function brokenPart(size: number): Float64Array {
  const part = new Float64Array(size);
  part[7] = BROKEN_PART;
  return part;
}

function partOf(
  run: SplitRun,
  place: SelectedPlace,
  at: SplitVariant & { readonly split: number },
): Float64Array {
  const { buffers, params } = run;
  const { headDim, tileKeys, split } = at;
  const rangeOf = (count: number): [first: number, end: number] => {
    const length = Math.ceil(count / (params.splits * tileKeys)) * tileKeys;
    return [Math.min(split * length, count), Math.min((split + 1) * length, count)];
  };
  const kept = rangeOf(place.kept.length);
  const marginal = rangeOf(place.marginal.length);
  const scores = keptScores(run, place, at).subarray(...kept).map((score) => score * Math.LOG2E);
  const largest = Math.max(-3.4e38, ...scores);
  const weights = scores.map((score) => 2 ** (score - largest));
  if (params.has_weights === 1) {
    const start = (place.row * params.query_heads + place.head) * params.weight_stride;
    buffers.weights.set(scores.map((score) => Math.max(-3.4e38, score)), start + kept[0]);
  }
  const hasMasses = place.marginal.length > 0;
  const keptMasses = hasMasses
    ? massesOf(place, place.kept.subarray(...kept))
    : new Float64Array(0);
  const marginalMasses = massesOf(place, place.marginal.subarray(...marginal));
  const others = Math.max(0, place.keptSinks - kept[0]);
  const isCalibrated = MARGINAL_MODES[place.combine] === "joint_nosink";
  const values = { ...at, values: buffers.values, firstRow: place.firstRow };
  const part = new Float64Array(PART_HEADER + 2 * headDim);
  part.set([largest, total(weights), total(keptMasses), total(marginalMasses)]);
  part.set([
    total(keptMasses.subarray(others)),
    isCalibrated ? total(weights.subarray(others)) : 0,
    place.combine,
    place.kept.length,
  ], 4);
  part.set(weightedSum(place.keptRows.subarray(...kept), weights, values), PART_HEADER);
  const marginalRows = place.marginalRows.subarray(...marginal);
  part.set(weightedSum(marginalRows, marginalMasses, values), PART_HEADER + headDim);
  return part;
}

/** Buffers of attention to selections, whole or in splits. */
export interface SelectedSplitBuffers extends SelectedAttentionBuffers {
  /** Scratch of splits, f32; where it is missing or too small for two, lists are not split. */
  readonly partial?: DeviceBuffer | BufferWindow;
}

/**
 * Chooses into how many parts lists are split: what the scratch has room for, but no shorter parts than pay.
 *
 * @param shape Sizes of the step.
 * @param options Words of a list, query heads that share it, bytes of the scratch.
 * @returns The number of splits, 1 for none.
 */
export function selectedSplits(
  shape: AttentionShape,
  options: {
    readonly listWords: number;
    readonly unitHeads: number;
    readonly partialBytes: number;
  },
): number {
  const rows = shape.sequences * shape.rowsPerSequence;
  const splitBytes = 4 * rows * shape.queryHeads * (PART_HEADER + 2 * shape.headDim);
  const wanted = Math.min(MAX_SPLITS, Math.ceil(listRoom(options) / SPLIT_ENTRIES));
  return Math.max(1, Math.min(wanted, Math.floor(options.partialBytes / splitBytes)));
}

/**
 * Prepares attention of a step to its selections, as `selectedAttentionCommand` does, in splits where there is scratch
 * for them.
 *
 * @param info The device, for the choice of the variant.
 * @param options Buffers and sizes; `splits` overrides the choice of `selectedSplits`.
 * @returns One command, or two where lists are split.
 * @throws {RangeError} If the sizes do not fit together.
 */
export function selectedAttentionCommands(
  info: Pick<DeviceInfo, "subgroupSize">,
  options: {
    readonly shape: AttentionShape;
    readonly selection: SelectionShape;
    readonly buffers: SelectedSplitBuffers;
    readonly splits?: number;
  },
): Command[] {
  const { shape, selection, buffers } = options;
  const { partial, ...others } = buffers;
  const unitHeads = shape.queryHeads / selection.unitsPerLayer;
  const splits = options.splits ??
    selectedSplits(shape, { ...selection, unitHeads, partialBytes: partial?.byteLength ?? 0 });
  if (partial === undefined || splits === 1) {
    return [selectedAttentionCommand(info, { shape, selection, buffers: others })];
  }
  const { output, weights, ...inputs } = others;
  const params = { ...selectedAttentionParams(shape, selection), splits };
  const [tiles, parts, sequences] = selectedAttentionGrid(shape, { ...selection, ...info });
  return [
    dispatch({
      kernel: selectedAttentionSplit({ ...shape, subgroupSize: info.subgroupSize }),
      buffers: { ...inputs, partial, weights },
      params,
      grid: [tiles * splits, parts, sequences],
    }),
    dispatch({
      kernel: selectedAttentionMerge,
      buffers: { partial, output, weights },
      constants: { HEAD_DIM: shape.headDim },
      params: {
        rows: params.rows,
        query_heads: params.query_heads,
        output_stride: params.output_stride,
        splits,
        has_weights: params.has_weights,
        weight_stride: params.weight_stride,
      },
      grid: [params.rows, params.query_heads, 1],
    }),
  ];
}

/** Variants for the tests that compare contracts with WGSL. */
export function selectedAttentionSplitSamples(): Kernel<SelectedSplitContract>[] {
  return [
    selectedAttentionSplit({ headDim: 64, subgroupSize: 8 }),
    selectedAttentionSplit({ headDim: 128, subgroupSize: 0 }),
    selectedAttentionSplit({ headDim: 24, subgroupSize: 0, keyFormat: "f32", valueFormat: "f32" }),
  ];
}
