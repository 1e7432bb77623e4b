/**
 * Attention of a few rows to listed tokens, with a small model's attention for tokens whose keys are gone: whole, or in
 * splits of the lists.
 *
 * A software adapter has few cores, which the KV heads keep busy; others need more workgroups than a decode step of few
 * sequences has KV heads, so splits of a list go to different workgroups, and `attention_merge` joins their parts.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, section 4.2
 * @module
 */

import marginal from "./marginal.wgsl" with { type: "text" };
import wgsl from "./selected_attention.wgsl" with { type: "text" };
import sharedRows from "./shared_rows.wgsl" with { type: "text" };
import sharedWgsl from "./shared_selected.wgsl" with { type: "text" };
import { checkInteger, RequirementError } from "../core/check.ts";
import { type Command, type DeviceBuffer, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel } from "../gpu/kernel.ts";
import { selectedCode } from "./attention_cpu.ts";
import {
  BROKEN_PART,
  mergedRows,
  PART_HEADER,
  selectedAttentionMerge,
  selectedAttentionMergeRest,
} from "./attention_merge.ts";
import {
  attentionParams,
  type AttentionShape,
  type AttentionVariant,
  type KvFormat,
  type LaneUse,
} from "./attention_shape.ts";
import { attentionText, sinkBinding, variantOf } from "./attention_text.ts";
import { broadcastOf, sharedBytes, sharedConstants, sharedTile } from "./attention_tile.ts";
import { flashTile, keyValueBytes } from "./flash_attention.ts";
import {
  attendInSplits,
  attendWhole,
  SELECTED_BINDINGS,
  SELECTED_PARAMS,
  type SelectedContract,
  type SelectedParams,
  type SelectedSplitContract,
  SPLIT_BINDINGS,
  SPLIT_PARAMS,
} from "./selected_reference.ts";
import { kvBits } from "./quantized_rows.ts";
import type { AdapterFeatures } from "./shapes.ts";
import { LIST_HEADER_WORDS, listRoom, WEIGHED_REST } from "./selection_list.ts";

/** Entries of the shortest split of a full list; fewer do not pay for the merge. */
const SPLIT_ENTRIES = 64;

/** Most splits of a list. */
const MAX_SPLITS = 32;

/** How many list entries are rescaled together, and loaded together. */
function tileOf(variant: LaneUse & Pick<AttentionVariant, "headDim">) {
  return flashTile(variant, 1);
}

/** A variant's contract without bindings and parameters. */
function selectedText(variant: AttentionVariant, isSplit: boolean) {
  const coded = [variant.keyFormat, variant.valueFormat].find((format) => kvBits(format) < 16);
  if (coded) {
    const requirement = "keys and values must be stored as f16 or f32";
    throw new RequirementError({ action: "attend to listed tokens", requirement, current: coded });
  }
  return variant.layout === "shared" ? sharedText(variant, isSplit) : rowsText(variant, isSplit);
}

/** Constants of both files. */
function selectedConstants(isSplit: boolean) {
  return {
    HEADER_WORDS: LIST_HEADER_WORDS,
    BROKEN: BROKEN_PART,
    WEIGHED_REST,
    TIERS: 2,
    SPLIT: isSplit ? 1 : 0,
    ATTENDS: 1,
    MASKS: 0,
  };
}

function stemOf(isSplit: boolean): string {
  return isSplit ? "selected_attention_split" : "selected_attention";
}

function sharedText(variant: AttentionVariant, isSplit: boolean) {
  const { headDim } = variant;
  const tile = sharedTile(variant, 1);
  const text = attentionText({ ...variant, ring: undefined }, { // lists hold rows
    wgsl: `${sharedWgsl}\n${sharedRows}\n${marginal}`,
    entry: "shared_selected",
    stem: stemOf(isSplit),
    tileVectors: 1,
    constants: { ...sharedConstants(headDim, tile), ...selectedConstants(isSplit) },
  });
  const workgroupBytes = sharedBytes(headDim, tile) + 8 * (tile.keys + (isSplit ? tile.rows : 0));
  return { ...text, constants: {}, workgroupBytes };
}

function rowsText(variant: AttentionVariant, isSplit: boolean) {
  const { lanes, isSubgroup } = broadcastOf(variant.subgroupSize);
  const { keys, tileKeys } = tileOf(variant);
  const vectors = (format?: KvFormat) => variant.headDim * kvBits(format) / 128;
  const keyVectors = vectors(variant.keyFormat);
  const valueVectors = vectors(variant.valueFormat);
  const text = attentionText({ ...variant, ring: undefined }, { // lists hold rows
    wgsl: `${wgsl}\n${marginal}`,
    entry: "selected_attention",
    stem: stemOf(isSplit),
    tileVectors: keys,
    constants: {
      KEYS: keys,
      TILE_KEYS: tileKeys,
      WORD_ROUNDS: Math.ceil(2 * keys / lanes),
      KEY_VECTORS: keyVectors,
      VALUE_VECTORS: valueVectors,
      KEY_LINES: Math.ceil(keyVectors / 4),
      VALUE_LINES: Math.ceil(valueVectors / 4),
      ...selectedConstants(isSplit),
    },
  });
  const workgroupBytes = keyValueBytes(variant.headDim, tileKeys);
  return { ...text, constants: {}, ...(!isSubgroup && { workgroupBytes }) };
}

/**
 * Makes a variant of `selected_attention`.
 *
 * @param variant What the text depends on.
 * @returns The kernel.
 * @throws {RequirementError} If there is no such variant.
 */
export function selectedAttention(variant: AttentionVariant): Kernel<SelectedContract> {
  return defineKernel<SelectedContract>(
    {
      ...selectedText(variant, false),
      bindings: { ...SELECTED_BINDINGS, ...sinkBinding(variant) },
      params: SELECTED_PARAMS,
    },
    (run) => attendWhole(run, variant),
    selectedCode(variant),
  );
}

/**
 * Makes a variant of `selected_attention_split`.
 *
 * @param variant What the text depends on.
 * @returns The kernel.
 * @throws {RequirementError} If there is no such variant.
 */
export function selectedAttentionSplit(variant: AttentionVariant): Kernel<SelectedSplitContract> {
  const { tileKeys } = tileOf(variant);
  return defineKernel<SelectedSplitContract>(
    {
      ...selectedText(variant, true),
      bindings: { ...SPLIT_BINDINGS, ...sinkBinding(variant) },
      params: SPLIT_PARAMS,
    },
    (run) => attendInSplits(run, { ...variant, tileKeys }),
    selectedCode(variant, tileKeys),
  );
}

/** Which tokens are attended to, and how. */
export interface SelectionShape {
  /** Selections of a layer: one per KV head, per query head, or one for all heads. */
  readonly groupsPerLayer: number;
  /** First selection of the layer. */
  readonly groupOffset: number;
  /** Selections of all layers. */
  readonly groups: number;
  /** Words of a list. */
  readonly listWords: number;
  /** Query heads of all layers of the small model; 1 without one. */
  readonly smallHeads: number;
  /** Added to the rows of a list per KV head, where one selection serves all heads of a layer; 0 if left out. */
  readonly rowStride?: number;
  /** Whether the softmax over full tokens is written; false if left out. */
  readonly hasAttention?: boolean;
  /** Elements from one head's softmax to the next; 0 if left out. */
  readonly attentionStride?: number;
}

/**
 * Fills in the parameters.
 *
 * @param shape Sizes of the step.
 * @param selection Which tokens, and how.
 * @returns A value for every parameter of `selected_attention`.
 * @throws {RequirementError} If the sizes do not fit together.
 */
export function selectedParams(shape: AttentionShape, selection: SelectionShape): SelectedParams {
  const action = "attend to selected tokens";
  const { is_masked: _, visible_words: __, ...params } = attentionParams(shape);
  const { queryHeads, kvHeads } = shape;
  const { groupsPerLayer, groupOffset, groups, listWords, smallHeads } = selection;
  if (![1, kvHeads, queryHeads].includes(groupsPerLayer)) {
    throw new RequirementError({
      action,
      requirement: `groupsPerLayer must be one of 1, ${kvHeads}, ${queryHeads}`,
      current: groupsPerLayer,
    });
  }
  const least = LIST_HEADER_WORDS + queryHeads / groupsPerLayer + 2;
  checkInteger(action, "groupOffset", { value: groupOffset, min: 0, max: groups - groupsPerLayer });
  checkInteger(action, "listWords", { value: listWords, min: least });
  checkInteger(action, "smallHeads", { value: smallHeads, min: 1 });
  return {
    ...params,
    groups_per_layer: groupsPerLayer,
    group_offset: groupOffset,
    groups,
    list_words: listWords,
    small_heads: smallHeads,
    row_stride: selection.rowStride ?? 0,
    has_attention: selection.hasAttention ? 1 : 0,
    attention_stride: selection.attentionStride ?? 0,
  };
}

/**
 * Counts the workgroups of `selected_attention`.
 *
 * @param shape Sizes of the step.
 * @param options Selections of a layer, and how lanes are used.
 * @returns Tiles of rows, heads that share keys and a selection, sequences.
 */
export function selectedGrid(
  shape: Pick<
    AttentionShape,
    "headDim" | "kvHeads" | "queryHeads" | "rowsPerSequence" | "sequences"
  >,
  options: LaneUse & { readonly groupsPerLayer: number },
): [number, number, number] {
  const tile = tileOf({ ...options, headDim: shape.headDim });
  const parts = Math.max(options.groupsPerLayer, shape.kvHeads);
  const rows = shape.rowsPerSequence * shape.queryHeads / parts;
  return [Math.ceil(rows / tile.rows), parts, shape.sequences];
}

/**
 * Chooses into how many parts lists are split: as many as the scratch holds, but none too short to pay off.
 *
 * @param shape Sizes of the step.
 * @param options Words of a list, query heads that share it, bytes of the scratch.
 * @returns The number of splits, 1 for none.
 */
export function selectedSplits(
  shape: AttentionShape,
  options: {
    readonly listWords: number;
    readonly groupHeads: number;
    readonly partialBytes: number;
  },
): number {
  const rows = shape.sequences * shape.rowsPerSequence;
  const wanted = Math.min(MAX_SPLITS, Math.ceil(listRoom(options) / SPLIT_ENTRIES));
  const room = Math.floor(options.partialBytes / selectedSplitBytes(shape, rows));
  return Math.max(1, Math.min(wanted, room));
}

/**
 * Bytes of scratch that a split takes.
 *
 * @param shape Sizes of the model.
 * @param rows Rows of the step.
 * @returns Bytes.
 */
export function selectedSplitBytes(
  { queryHeads, headDim }: Pick<AttentionShape, "queryHeads" | "headDim">,
  rows: number,
): number {
  return 4 * rows * queryHeads * (PART_HEADER + 2 * headDim);
}

/**
 * Buffers of attention to selections: see the header of its file. `partial` is scratch of splits; where it is missing or
 * too small for two, lists are not split. `rest` has the means of `rest_values`, one for each list of each sequence of
 * the step, where tokens that are not listed count (D-31); `partial` must then have room for a split.
 */
export type SelectedBuffers =
  & Omit<DispatchBuffers<SelectedContract>, "sinks">
  & Partial<Pick<DispatchBuffers<SelectedSplitContract>, "partial">>
  & { readonly rest?: DeviceBuffer };

/**
 * Prepares attention of a step to its selections.
 *
 * A row sees the listed tokens up to its own position, so that rows of a block under verification may share lists that
 * hold the block.
 *
 * @param info The device, for the choice of the variant.
 * @param options Buffers and sizes; `splits` overrides the choice of `selectedSplits`.
 * @returns One command, or two where lists are split.
 * @throws {RequirementError} If the sizes do not fit together.
 */
export function selectedAttentionCommands(
  info: AdapterFeatures,
  options: {
    readonly shape: AttentionShape;
    readonly selection: SelectionShape;
    readonly buffers: SelectedBuffers;
    readonly splits?: number;
  },
): Command[] {
  const { shape, selection } = options;
  const { state, qkv, keys, values, lists, small_attention, attention } = options.buffers;
  const { partial, output, rest } = options.buffers;
  const inputs = { state, qkv, keys, values, lists, small_attention, attention };
  const buffers = { ...inputs, ...(shape.sinks && { sinks: shape.sinks }) };
  const groupHeads = shape.queryHeads / selection.groupsPerLayer;
  const partialBytes = partial?.byteLength ?? 0;
  const splits = options.splits ??
    selectedSplits(shape, { ...selection, groupHeads, partialBytes });
  const params = selectedParams(shape, selection);
  const variant = variantOf(shape, info, "selected");
  const [tiles, parts, sequences] = selectedGrid(shape, { ...variant, ...selection });
  if (rest) checkSplit(shape, partial);
  if (partial === undefined || splits === 1 && !rest) {
    return [dispatch({
      kernel: selectedAttention(variant),
      buffers: { ...buffers, output },
      params,
      grid: [tiles, parts, sequences],
    })];
  }
  const { has_attention, attention_stride } = params;
  const merged = mergedRows(shape, splits);
  const merge = {
    constants: { HEAD_DIM: shape.headDim },
    params: { ...merged.params, has_attention, attention_stride },
    grid: merged.grid,
  };
  return [
    dispatch({
      kernel: selectedAttentionSplit(variant),
      buffers: { ...buffers, partial },
      params: { ...params, splits },
      grid: [tiles * splits, parts, sequences],
    }),
    rest
      ? dispatch({
        ...merge,
        kernel: selectedAttentionMergeRest,
        buffers: { partial, output, attention, rest },
        params: {
          ...merge.params,
          rows_per_sequence: shape.rowsPerSequence,
          rest_parts: selection.groupsPerLayer,
        },
      })
      : dispatch({
        ...merge,
        kernel: selectedAttentionMerge,
        buffers: { partial, output, attention },
      }),
  ];
}

/** The mean of the rest joins parts, so that even an undivided list is one. */
function checkSplit(shape: AttentionShape, partial: SelectedBuffers["partial"]): void {
  checkInteger("attend to selected tokens", "bytes of partial for the rest", {
    value: partial?.byteLength ?? 0,
    min: selectedSplitBytes(shape, shape.sequences * shape.rowsPerSequence),
  });
}

/** Variants for the tests that compare contracts with WGSL. */
export function selectedAttentionSamples(): Kernel[] {
  const narrow = { headDim: 64, subgroupSize: 8 };
  const wide = { headDim: 128, subgroupSize: 0 };
  const exact = { headDim: 24, keyFormat: "f32", valueFormat: "f32" } as const;
  const rule = { window: 100, softcap: 50, hasSinks: true };
  return [selectedAttention, selectedAttentionSplit].flatMap<unknown>((make) => [
    make(narrow),
    make(wide),
    make({ ...narrow, ...exact }),
    make({ ...wide, ...exact }),
    make({ ...narrow, ...rule }),
    make({ ...wide, ...rule }),
    make({ ...wide, layout: "shared" }),
    make({ ...wide, ...exact, ...rule, layout: "shared" }),
  ]) as Kernel[];
}
