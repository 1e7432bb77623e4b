/**
 * Attention to every key, from the log-sum-exp that attention stored: the second of two passes. Three kernels of one file:
 *
 * - `attention_sums`: what every key receives, summed over the rows of a step without storing a map
 * - `attention_map`: the rows of one requested query head
 * - `attention_rows`: the newest token of each sequence, for every query head of a layer
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { columnsCode } from "./attention_cpu.ts";
import wgsl from "./attention_columns.wgsl" with { type: "text" };
import { rowPlace, rowScores } from "./attention_reference.ts";
import {
  ATTENTION_INPUTS,
  ATTENTION_PARAMS,
  attentionParams,
  type AttentionShape,
  type AttentionVariant,
} from "./attention_shape.ts";
import { type AttentionContract, attentionText, variantOf } from "./attention_text.ts";
import { type Broadcast, broadcastOf, sharedConstants, sharedTile } from "./attention_tile.ts";
import type { AdapterFeatures } from "./shapes.ts";
import sharedWgsl from "./shared_columns.wgsl" with { type: "text" };
import sharedRows from "./shared_rows.wgsl" with { type: "text" };

const INPUTS = { ...ATTENTION_INPUTS, log_sum: "read f32" } as const;
/** Storage buffers of `attention_sums`. */
export const SUMS_BINDINGS = { ...INPUTS, visible: "read u32", sums: "write f32" } as const;

/** Fields of `Params` of `attention_sums`. */
export const SUMS_PARAMS = { ...ATTENTION_PARAMS, row_decay: "f32", sum_decay: "f32" } as const;

/** Storage buffers of `attention_map`. */
export const MAP_BINDINGS = { ...INPUTS, visible: "read u32", output: "write f32" } as const;

/** Fields of `Params` of `attention_map`. */
export const MAP_PARAMS = {
  ...ATTENTION_PARAMS,
  head: "u32",
  map_stride: "u32",
  map_offset: "u32",
} as const;

/** Storage buffers of `attention_rows`. */
export const ROWS_BINDINGS = { ...INPUTS, output: "write f32" } as const;

/** Fields of `Params` of `attention_rows`. */
export const ROWS_PARAMS = { ...ATTENTION_PARAMS, head_offset: "u32", heads_total: "u32" } as const;

/** Contract of every variant of `attention_sums`. */
export type SumsContract = AttentionContract<typeof SUMS_BINDINGS, typeof SUMS_PARAMS>;

/** Contract of every variant of `attention_map`. */
export type MapContract = AttentionContract<typeof MAP_BINDINGS, typeof MAP_PARAMS>;

/** Contract of every variant of `attention_rows`. */
export type RowsContract = AttentionContract<typeof ROWS_BINDINGS, typeof ROWS_PARAMS>;

/** Most workgroups along x; they stride over the blocks of keys, so that an empty cache costs little. */
const MAX_STRIPES = 32;

/** What the text of a variant depends on. */
export interface ColumnsVariant extends AttentionVariant {
  /** New tokens of each sequence. */
  readonly rowsPerSequence: number;
}

/** Keys of each lane, and queries loaded together: the tile that was fastest on the software adapter. */
function columnsTile(rowsPerSequence: number, { isSubgroup }: Broadcast) {
  const isRow = rowsPerSequence < 4;
  if (!isSubgroup) return { laneKeys: 1, tileRows: isRow ? 1 : 4 };
  return isRow ? { laneKeys: 2, tileRows: 1 } : { laneKeys: 4, tileRows: 2 };
}

/** A variant's contract without bindings and parameters. */
function columnsText(variant: ColumnsVariant, kind: ColumnsKind) {
  return variant.layout === "shared" ? sharedText(variant, kind) : rowsText(variant, kind);
}

/** What becomes of the attention. */
type ColumnsKind = "sums" | "map" | "rows";

/** Constants of both files. */
function kindConstants(kind: ColumnsKind) {
  return {
    SUMS: kind === "sums" ? 1 : 0,
    MAP: kind === "map" ? 1 : 0,
    MASKS: kind === "rows" ? 0 : 1,
    ATTENDS: 0,
  };
}

function sharedText(variant: ColumnsVariant, kind: ColumnsKind) {
  const { headDim, rowsPerSequence } = variant;
  const tile = sharedTile(variant, 1);
  const isOneToken = rowsPerSequence === 1 && kind !== "map";
  const text = attentionText({ ...variant, valueFormat: undefined, hasSinks: false }, {
    wgsl: `${sharedWgsl}\n${sharedRows}`,
    entry: "shared_columns",
    stem: `attention_${kind}${kind === "rows" || isOneToken ? "" : "_rows"}`,
    tileVectors: 1,
    constants: {
      ...sharedConstants(headDim, tile),
      ...kindConstants(kind),
      ROWS_KEPT: kind === "rows" ? 1 : 0,
      ONE_TOKEN: isOneToken ? 1 : 0,
    },
  });
  return { ...text, constants: {}, workgroupBytes: 4 * tile.rows * (headDim + 1) };
}

function rowsText(variant: ColumnsVariant, kind: ColumnsKind) {
  const { headDim, rowsPerSequence, subgroupSize } = variant;
  const broadcast = broadcastOf(subgroupSize);
  const { laneKeys, tileRows } = columnsTile(rowsPerSequence, broadcast);
  const text = attentionText({ ...variant, valueFormat: undefined, hasSinks: false }, {
    wgsl,
    entry: "attention_columns",
    stem: `attention_${kind}${kind !== "rows" && tileRows > 1 ? "_rows" : ""}`,
    tileVectors: tileRows,
    constants: {
      LANE_KEYS: laneKeys,
      TILE_ROWS: tileRows,
      QUERY_ROUNDS: Math.ceil(headDim / 4 * tileRows / broadcast.lanes),
      ...kindConstants(kind),
      ROWS: kind === "rows" ? 1 : 0,
    },
  });
  const workgroupBytes = 4 * tileRows * (headDim + 1);
  return { ...text, constants: {}, ...(!broadcast.isSubgroup && { workgroupBytes }) };
}

/**
 * Counts the workgroups that share the keys.
 *
 * @param variant What the text depends on.
 * @param columns Keys at most.
 * @returns Workgroups along x.
 */
export function columnsStripes(
  variant: Pick<ColumnsVariant, "headDim" | "rowsPerSequence" | "subgroupSize" | "layout">,
  columns: number,
): number {
  const { rowsPerSequence, subgroupSize, layout } = variant;
  if (layout === "shared") {
    return Math.min(MAX_STRIPES, Math.ceil(columns / sharedTile(variant, 1).lanes));
  }
  const broadcast = broadcastOf(subgroupSize);
  const { laneKeys } = columnsTile(rowsPerSequence, broadcast);
  return Math.min(MAX_STRIPES, Math.ceil(columns / (broadcast.lanes * laneKeys)));
}

/** Attention of a row of a head to the keys up to its own, in float64. */
function rowAttention(
  run: KernelRun<AttentionContract<typeof INPUTS, typeof ATTENTION_PARAMS>>,
  at: { readonly row: number; readonly head: number; readonly variant: AttentionVariant },
): Float64Array {
  const { row, head, variant } = at;
  const logSum = run.buffers.log_sum[head * run.params.rows + row]!;
  return rowScores(run, { ...variant, row, head }).map((score) => Math.exp(score - logSum));
}

/**
 * Makes a variant of `attention_sums`.
 *
 * @param variant What the text depends on.
 * @returns The kernel.
 * @throws {RequirementError} If there is no such variant.
 */
export function attentionSums(variant: ColumnsVariant): Kernel<SumsContract> {
  return defineKernel<SumsContract>(
    { ...columnsText(variant, "sums"), bindings: SUMS_BINDINGS, params: SUMS_PARAMS },
    (run) => sumColumns(run, variant),
    columnsCode(variant, "sums"),
  );
}

function sumColumns(run: KernelRun<SumsContract>, variant: ColumnsVariant): void {
  const { buffers: { sums }, params } = run;
  const { rows, rows_per_sequence, query_heads, capacity, row_decay, sum_decay } = params;
  for (let head = 0; head < query_heads; head++) {
    for (let first = 0; first < rows; first += rows_per_sequence) {
      const { sequence } = rowPlace(run, first);
      const { position: last } = rowPlace(run, first + rows_per_sequence - 1);
      const received = new Float64Array(capacity);
      for (let row = first; row < first + rows_per_sequence; row++) {
        const factor = row_decay ** (first + rows_per_sequence - 1 - row);
        rowAttention(run, { row, head, variant })
          .forEach((attention, key) => received[key]! += factor * attention);
      }
      const place = (sequence * query_heads + head) * capacity;
      for (let key = 0; key <= last; key++) {
        sums[place + key] = sums[place + key]! * sum_decay + received[key]!;
      }
    }
  }
}

/**
 * Makes a variant of `attention_map`.
 *
 * @param variant What the text depends on.
 * @returns The kernel.
 * @throws {RequirementError} If there is no such variant.
 */
export function attentionMap(variant: ColumnsVariant): Kernel<MapContract> {
  return defineKernel<MapContract>(
    { ...columnsText(variant, "map"), bindings: MAP_BINDINGS, params: MAP_PARAMS },
    (run) => {
      const { buffers: { output }, params: { rows, head, map_stride, map_offset } } = run;
      for (let row = 0; row < rows; row++) {
        const attention = new Float64Array(map_stride);
        attention.set(rowAttention(run, { row, head, variant }).subarray(0, map_stride));
        output.set(attention, (map_offset + row) * map_stride);
      }
    },
    columnsCode(variant, "map"),
  );
}

/**
 * Makes a variant of `attention_rows`.
 *
 * @param variant What the text depends on; one new token of each sequence.
 * @returns The kernel.
 * @throws {RequirementError} If there is no such variant.
 */
export function attentionRows(variant: AttentionVariant): Kernel<RowsContract> {
  return defineKernel<RowsContract>(
    {
      ...columnsText({ ...variant, rowsPerSequence: 1 }, "rows"),
      bindings: ROWS_BINDINGS,
      params: ROWS_PARAMS,
    },
    (run) => {
      const { query_heads, capacity, head_offset, heads_total } = run.params;
      for (let row = 0; row < run.params.rows; row++) {
        const { sequence } = rowPlace(run, row);
        for (let head = 0; head < query_heads; head++) {
          const place = (sequence * heads_total + head_offset + head) * capacity;
          run.buffers.output.set(rowAttention(run, { row, head, variant }), place);
        }
      }
    },
    columnsCode(variant, "rows"),
  );
}

/** Buffers of a kernel with masks: see the header of its file; `visible` only where positions are masked. */
export type MaskedBuffers<C extends SumsContract | MapContract> =
  & Omit<DispatchBuffers<C>, "visible" | "sinks">
  & Partial<Pick<DispatchBuffers<C>, "visible">>;

/**
 * Prepares the column sums of a step.
 *
 * @param info The device, for the choice of the variant.
 * @param options Buffers, sizes, and the factor by which each earlier row counts less, from 0 (only a
 *   sequence's last row counts) to 1 (all rows count the same; the default); it also decays the sums of earlier steps.
 * @returns The command.
 * @throws {RequirementError} If the sizes do not fit together.
 */
export function attentionSumsCommand(
  info: AdapterFeatures,
  { shape, buffers, rowDecay = 1 }: {
    readonly shape: AttentionShape;
    readonly buffers: MaskedBuffers<SumsContract>;
    readonly rowDecay?: number;
  },
): Command {
  const { state, qkv, keys, log_sum, visible = state, sums } = buffers;
  const params = attentionParams(shape);
  const variant = variantOf(shape, info);
  return dispatch({
    kernel: attentionSums(variant),
    buffers: { state, qkv, keys, log_sum, visible, sums },
    params: { ...params, row_decay: rowDecay, sum_decay: rowDecay ** shape.rowsPerSequence },
    grid: [columnsStripes(variant, shape.capacity), shape.kvHeads, shape.sequences],
  });
}

/** Which attention goes where. */
export interface MapPlace {
  /** Query head. */
  readonly head: number;
  /** Elements from one row of the map to the next; keys beyond it are left out. */
  readonly stride: number;
  /** Row of the map that the step's first row becomes. */
  readonly offset: number;
}

/**
 * Prepares the map of one head for the rows of a step.
 *
 * @param info The device, for the choice of the variant.
 * @param options Buffers, sizes, and which map goes where.
 * @returns The command.
 * @throws {RequirementError} If the sizes do not fit together or there is no such head.
 */
export function attentionMapCommand(
  info: AdapterFeatures,
  { shape, buffers, map }: {
    readonly shape: AttentionShape;
    readonly buffers: MaskedBuffers<MapContract>;
    readonly map: MapPlace;
  },
): Command {
  const { state, qkv, keys, log_sum, visible = state, output } = buffers;
  const params = attentionParams(shape);
  checkInteger("map attention", "head", { value: map.head, min: 0, max: shape.queryHeads - 1 });
  const variant = variantOf(shape, info);
  return dispatch({
    kernel: attentionMap(variant),
    buffers: { state, qkv, keys, log_sum, visible, output },
    params: { ...params, head: map.head, map_stride: map.stride, map_offset: map.offset },
    grid: [columnsStripes(variant, map.stride), 1, shape.sequences],
  });
}

/** Where the heads of a layer go. */
export interface RowHeads {
  /** Flat index of the layer's first query head. */
  readonly offset: number;
  /** Query heads of all layers. */
  readonly total: number;
}

/**
 * Prepares the rows of one layer.
 *
 * @param info The device, for the choice of the variant.
 * @param options Buffers, sizes, and where the heads go.
 * @returns The command.
 * @throws {RequirementError} If the sizes do not fit together, a sequence has several new tokens, or keys are masked.
 */
export function attentionRowsCommand(
  info: AdapterFeatures,
  { shape, heads, buffers: { state, qkv, keys, log_sum, output } }: {
    readonly shape: AttentionShape;
    readonly heads: RowHeads;
    readonly buffers: DispatchBuffers<RowsContract>;
  },
): Command {
  const action = "keep attention rows";
  checkInteger(action, "rowsPerSequence", { value: shape.rowsPerSequence, min: 1, max: 1 });
  checkInteger(action, "masks", { value: shape.isMasked ? 1 : 0, min: 0, max: 0 });
  checkInteger(action, "heads in total", {
    value: heads.total,
    min: heads.offset + shape.queryHeads,
  });
  const variant = variantOf(shape, info);
  return dispatch({
    kernel: attentionRows(variant),
    buffers: { state, qkv, keys, log_sum, output },
    params: { ...attentionParams(shape), head_offset: heads.offset, heads_total: heads.total },
    grid: [columnsStripes(variant, shape.capacity), shape.kvHeads, shape.sequences],
  });
}

/** Variants for the tests that compare contracts with WGSL. */
export function attentionColumnsSamples(): Kernel[] {
  const narrow = { headDim: 64, subgroupSize: 8, rowsPerSequence: 128 };
  const wide = { headDim: 64, subgroupSize: 0, rowsPerSequence: 128 };
  const rule = { window: 100, softcap: 50 };
  return [attentionSums, attentionMap, attentionRows].flatMap<unknown>((make) => [
    make({ ...narrow, rowsPerSequence: 1 }),
    make({ ...narrow, headDim: 128 }),
    make(wide),
    make({ ...narrow, keyFormat: "f32" }),
    make({ ...wide, keyFormat: "f32" }),
    make({ ...narrow, keyFormat: "u4" }),
    make({ ...wide, keyFormat: "u8", layout: "shared" }),
    make({ ...narrow, ...rule }),
    make({ ...wide, ...rule }),
    make({ ...wide, ...rule, layout: "shared" }),
    make({ ...wide, keyFormat: "f32", layout: "shared", rowsPerSequence: 1 }),
  ]) as Kernel[];
}
