/**
 * Attention of few rows to listed tokens, with a helper's attention to those whose keys are gone: contract and twin.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, section 4.2
 * @module
 */

import { checkInteger } from "../core/check.ts";
import {
  type BufferWindow,
  type Command,
  type DeviceBuffer,
  type DeviceInfo,
  dispatch,
} from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelContract } from "../gpu/kernel.ts";
import { attentionParams, type AttentionShape, checkHeadDim } from "./attention_input.ts";
import { handOut, variantName } from "./attention_wgsl.ts";
import { flashTile, type FlashVariant, keyValueMemory } from "./flash_attention.ts";
import { selectedAttentionReference } from "./selected_attention_reference.ts";
import { selectedText } from "./selected_attention_wgsl.ts";
import { LIST_HEADER_WORDS } from "./selection_list.ts";

/** Storage buffers of `selected_attention`. */
export const SELECTED_ATTENTION_BINDINGS = {
  state: "read u32",
  qkv: "read f32",
  keys: "read u32",
  values: "read u32",
  lists: "read u32",
  helper: "read f32",
  output: "write f32",
  weights: "write f32",
} as const;

/** Fields of `Params` of `selected_attention`. */
export const SELECTED_ATTENTION_PARAMS = {
  rows: "u32",
  rows_per_sequence: "u32",
  capacity: "u32",
  stride: "u32",
  output_stride: "u32",
  query_heads: "u32",
  kv_heads: "u32",
  scale: "f32",
  units_per_layer: "u32",
  unit_offset: "u32",
  units: "u32",
  list_words: "u32",
  helper_heads: "u32",
  row_stride: "u32",
  has_weights: "u32",
  weight_stride: "u32",
} as const;

/** Values for `SELECTED_ATTENTION_PARAMS`. */
export type SelectedAttentionParams = {
  readonly [Name in keyof typeof SELECTED_ATTENTION_PARAMS]: number;
};

/** Contract of every variant of `selected_attention`. */
export interface SelectedAttentionContract extends KernelContract {
  /** Storage buffers. */
  readonly bindings: typeof SELECTED_ATTENTION_BINDINGS;
  /** There are none: sizes that matter are written into the text. */
  readonly constants: Record<never, number>;
  /** Sizes and choices. */
  readonly params: typeof SELECTED_ATTENTION_PARAMS;
}

/**
 * Makes a variant of the kernel.
 *
 * @param variant Head size, subgroup size, storage of keys and values.
 * @returns The kernel.
 * @throws {RangeError} If there is no variant for the head size.
 */
export function selectedAttention(
  variant: Omit<FlashVariant, "rows">,
): Kernel<SelectedAttentionContract> {
  const { headDim, keyFormat, valueFormat } = variant;
  const { contract } = selectedContract("selected_attention", variant, {
    bindings: SELECTED_ATTENTION_BINDINGS,
    params: SELECTED_ATTENTION_PARAMS,
    isSplit: false,
  });
  return defineKernel(
    contract,
    (run) => selectedAttentionReference(run, { headDim, keyFormat, valueFormat }),
  );
}

/**
 * Makes the contract of a variant, whole or in splits.
 *
 * @param stem Name of the kernel family.
 * @param variant Head size, subgroup size, storage of keys and values.
 * @param form Storage buffers, fields of `Params`, and whether workgroups along x are splits.
 * @returns The contract, and the list entries that are loaded together.
 * @throws {RangeError} If there is no variant for the head size.
 */
export function selectedContract<
  Bindings extends KernelContract["bindings"],
  Params extends KernelContract["params"],
>(
  stem: string,
  { headDim, subgroupSize, keyFormat, valueFormat }: Omit<FlashVariant, "rows">,
  form: { readonly bindings: Bindings; readonly params: Params; readonly isSplit: boolean },
): {
  readonly contract: KernelContract & {
    readonly bindings: Bindings;
    readonly constants: Record<never, number>;
    readonly params: Params;
  };
  readonly tileKeys: number;
} {
  checkHeadDim(headDim);
  const lanes = handOut(subgroupSize);
  const { keys, tileKeys } = flashTile(headDim, { lanes, rows: 1 });
  const sizes = { headDim, handOut: lanes, keyFormat, valueFormat };
  const name = variantName(stem, sizes);
  const contract = {
    name,
    wgsl: selectedText({ name, ...sizes, keys, tileKeys, ...form }),
    bindings: form.bindings,
    constants: {},
    params: form.params,
    ...keyValueMemory({ headDim, tileKeys, lanes }),
  };
  return { contract, tileKeys };
}

/** Which tokens are attended to, and how. */
export interface SelectionShape {
  /** Selections of a layer: one per KV head, per query head, or one for all heads. */
  readonly unitsPerLayer: number;
  /** First selection of the layer. */
  readonly unitOffset: number;
  /** Selections of all layers. */
  readonly units: number;
  /** Words of a list. */
  readonly listWords: number;
  /** Query heads of all layers of the helper; 1 without one. */
  readonly helperHeads: number;
  /** Added to the rows of a list per KV head, where one selection serves all heads of a layer; 0 if left out. */
  readonly rowStride?: number;
  /** Whether the softmax over kept tokens is wanted; false if left out. */
  readonly hasWeights?: boolean;
  /** Elements from one head's softmax to the next; 0 if left out. */
  readonly weightStride?: number;
}

/** Buffers of `selected_attention`. */
export interface SelectedAttentionBuffers {
  /** First sequence of the step, then the cached tokens of each sequence, u32. */
  readonly state: DeviceBuffer | BufferWindow;
  /** Rows of query, key and value heads, f32 [rows, stride]. */
  readonly qkv: DeviceBuffer | BufferWindow;
  /** Head vectors, packed halves [_, headDim / 2], or the bits of as many f32 as there are halves. */
  readonly keys: DeviceBuffer | BufferWindow;
  /** Head vectors, as `keys`. */
  readonly values: DeviceBuffer | BufferWindow;
  /** Tokens of each selection, u32 [sequences, units, listWords]; see `selection_list.ts`. */
  readonly lists: DeviceBuffer | BufferWindow;
  /** The helper's attention of the step's rows, f32 [sequences * rowsPerSequence, helperHeads, capacity]. */
  readonly helper: DeviceBuffer | BufferWindow;
  /** Attention output, f32 [rows, outputStride], heads side by side. */
  readonly output: DeviceBuffer | BufferWindow;
  /** Softmax over kept tokens in the order of their list, f32 [rows, queryHeads, weightStride]. */
  readonly weights: DeviceBuffer | BufferWindow;
}

/**
 * Prepares attention of a step to its selections.
 *
 * A row sees the listed tokens up to its own position, so that rows of a block under verification may share lists that
 * hold the block.
 *
 * @param info The device, for the choice of the variant.
 * @param options Buffers and sizes.
 * @returns The command.
 * @throws {RangeError} If the sizes do not fit together.
 */
export function selectedAttentionCommand(
  info: Pick<DeviceInfo, "subgroupSize">,
  options: {
    readonly shape: AttentionShape;
    readonly selection: SelectionShape;
    readonly buffers: SelectedAttentionBuffers;
  },
): Command {
  const { shape, selection, buffers } = options;
  const params = selectedAttentionParams(shape, selection);
  const { state, qkv, keys, values, lists, helper, output, weights } = buffers;
  return dispatch({
    kernel: selectedAttention({ ...shape, subgroupSize: info.subgroupSize }),
    buffers: { state, qkv, keys, values, lists, helper, output, weights },
    params,
    grid: selectedAttentionGrid(shape, { ...selection, ...info }),
  });
}

/**
 * Fills in the parameters.
 *
 * @param shape Sizes of the step.
 * @param selection Which tokens, and how.
 * @returns A value for every field of `SELECTED_ATTENTION_PARAMS`.
 * @throws {RangeError} If the sizes do not fit together.
 */
export function selectedAttentionParams(
  shape: AttentionShape,
  selection: SelectionShape,
): SelectedAttentionParams {
  const { is_masked: _, visible_words: __, ...params } = attentionParams(shape);
  checkSelection(shape, selection);
  const { rowStride = 0, hasWeights = false, weightStride = 0 } = selection;
  return {
    ...params,
    units_per_layer: selection.unitsPerLayer,
    unit_offset: selection.unitOffset,
    units: selection.units,
    list_words: selection.listWords,
    helper_heads: selection.helperHeads,
    row_stride: rowStride,
    has_weights: hasWeights ? 1 : 0,
    weight_stride: weightStride,
  };
}

function checkSelection(shape: AttentionShape, selection: SelectionShape): void {
  const action = "attend to selected tokens";
  const { queryHeads, kvHeads } = shape;
  const { unitsPerLayer, unitOffset, units, listWords, helperHeads } = selection;
  if (![1, kvHeads, queryHeads].includes(unitsPerLayer)) {
    throw new RangeError(
      `Cannot ${action}: unitsPerLayer must be one of 1, ${kvHeads}, ${queryHeads}: current value is ${unitsPerLayer}`,
    );
  }
  const unitHeads = queryHeads / unitsPerLayer;
  checkInteger(action, "unitOffset", { value: unitOffset, min: 0, max: units - unitsPerLayer });
  checkInteger(action, "listWords", { value: listWords, min: LIST_HEADER_WORDS + unitHeads + 2 });
  checkInteger(action, "helperHeads", { value: helperHeads, min: 1 });
}

/**
 * Counts the workgroups of `selected_attention`.
 *
 * @param shape Sizes of the step.
 * @param options Selections of a layer, and lanes of a subgroup (0 where there are none).
 * @returns Tiles of rows, heads that share keys and a selection, sequences.
 */
export function selectedAttentionGrid(
  shape: Pick<AttentionShape, "kvHeads" | "queryHeads" | "rowsPerSequence" | "sequences">,
  options: { readonly unitsPerLayer: number; readonly subgroupSize: number },
): [number, number, number] {
  const { lanes } = handOut(options.subgroupSize);
  const parts = Math.max(options.unitsPerLayer, shape.kvHeads);
  const rows = shape.rowsPerSequence * shape.queryHeads / parts;
  return [Math.ceil(rows / lanes), parts, shape.sequences];
}

/** Variants for the tests that compare contracts with WGSL. */
export function selectedAttentionSamples(): Kernel<SelectedAttentionContract>[] {
  return [
    selectedAttention({ headDim: 64, subgroupSize: 8 }),
    selectedAttention({ headDim: 128, subgroupSize: 0 }),
    selectedAttention({ headDim: 24, subgroupSize: 8, keyFormat: "f32" }),
    selectedAttention({ headDim: 64, subgroupSize: 0, valueFormat: "f32" }),
  ];
}
