/**
 * WGSL of the attention kernels whose lanes own keys: `attention_sums`, `attention_map` and `attention_rows`.
 *
 * Each lane keeps its keys in registers; the queries are loaded once for all lanes and handed out. Scores are computed
 * anew, and the log-sum-exp that `flash_attention` left turns them into attention.
 *
 * @module
 */

import type { KernelContract } from "../gpu/kernel.ts";
import { blockText, type ColumnsOptions, queryTile } from "./attention_columns_loops.ts";
import type { KeyFormat } from "./attention_input.ts";
import {
  bindingsText,
  type HandOut,
  handOut,
  headerText,
  paramsText,
  tileBytes,
  tileText,
  UNPACK_TEXT,
  VISIBLE_TEXT,
} from "./attention_wgsl.ts";

/** Most workgroups along x; each takes every so many blocks of keys, so that an empty cache costs little. */
const MAX_STRIPES = 32;

/** What a variant is made for. */
export interface ColumnsVariant {
  /** Elements of a head. */
  readonly headDim: number;
  /** Lanes of a subgroup, 0 where there are none. */
  readonly subgroupSize: number;
  /** New tokens of each sequence. */
  readonly rowsPerSequence: number;
  /** How keys are stored; `f16` if left out. */
  readonly keyFormat?: KeyFormat | undefined;
}

/** How much one workgroup of a kernel whose lanes own keys does at a time. */
export interface ColumnsTile {
  /** Keys of each lane. */
  readonly laneKeys: number;
  /** Queries loaded together. */
  readonly tileRows: number;
}

/**
 * Chooses the tile that was fastest on the software adapter.
 *
 * @param variant What a kernel is made for.
 * @param lanes How queries are handed out.
 * @returns The tile.
 */
export function columnsTile(variant: ColumnsVariant, lanes: HandOut): ColumnsTile {
  if (!lanes.isSubgroup) return { laneKeys: 1, tileRows: variant.rowsPerSequence < 4 ? 1 : 4 };
  return variant.rowsPerSequence < 4 ? { laneKeys: 2, tileRows: 1 } : { laneKeys: 4, tileRows: 2 };
}

/**
 * States what a kernel with a tile of queries needs of a device.
 *
 * @param variant What the kernel is made for.
 * @param lanes How queries are handed out.
 * @returns Fields of a contract.
 */
export function queryMemory(
  variant: ColumnsVariant,
  lanes: HandOut,
): Pick<KernelContract, "subgroupSize" | "workgroupBytes"> {
  if (lanes.isSubgroup) return { subgroupSize: lanes.lanes };
  const { tileRows } = columnsTile(variant, lanes);
  return { workgroupBytes: tileBytes(queryTile({ ...variant, tileRows })) + 4 * tileRows };
}

/**
 * Counts the workgroups that share the keys.
 *
 * @param variant What the kernel is made for.
 * @param columns Keys at most.
 * @returns Workgroups along x.
 */
export function columnsStripes(variant: ColumnsVariant, columns: number): number {
  const lanes = handOut(variant.subgroupSize);
  const blockKeys = lanes.lanes * columnsTile(variant, lanes).laneKeys;
  return Math.min(MAX_STRIPES, Math.ceil(columns / blockKeys));
}

/**
 * Writes a kernel.
 *
 * @param options What to generate.
 * @returns WGSL text that compiles alone.
 */
export function columnsText(options: ColumnsOptions): string {
  const { name, handOut: lanes } = options;
  const isMap = options.kind === "map";
  const sumsMemory = `var<workgroup> log_sum_tile: array<f32, ${options.tileRows}>;\n`;
  return `${columnsHeader(options)}${bindingsText(options.bindings)}${paramsText(options.params)}
const LANES = ${lanes.lanes}u;
const BLOCK_KEYS = ${lanes.lanes * options.laneKeys}u;
const TILE_ROWS = ${options.tileRows}u;
const FOURS = ${options.headDim / 4}u;
const LOG2_E = 1.4426950408889634;
${tileText(queryTile(options), lanes)}${lanes.isSubgroup ? "" : sumsMemory}${UNPACK_TEXT}${
    options.kind === "rows" ? "" : VISIBLE_TEXT
  }
@compute @workgroup_size(${lanes.lanes})
fn ${name}(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
let group_size = params.query_heads / params.kv_heads;
let kv_head = ${isMap ? "params.head / group_size" : "group.y"};
let sequence = state[0] + group.z;
let start = state[1u + sequence];
let first_key = (sequence * params.kv_heads + kv_head) * params.capacity;
let first_row = group.z * params.rows_per_sequence;
let last_token = params.rows_per_sequence - 1u;
let seen = min(start + params.rows_per_sequence, params.capacity);
let columns = ${isMap ? "params.map_stride" : "seen"};
for (var block = group.x * BLOCK_KEYS; block < columns; block += groups.x * BLOCK_KEYS) {
${blockText(options)}
}
}
`;
}

const SUMMARIES = {
  sums: "attention that each key receives from the rows of a step, added to what is there",
  map: "attention of one query head, row by row",
  rows: "attention of the newest token of each sequence, for every query head",
} as const;

function columnsHeader(options: ColumnsOptions): string {
  const { name, bindings, kind, keyFormat } = options;
  return headerText({
    name,
    bindings,
    keyFormat,
    summary: SUMMARIES[kind],
    grid: `(stripes of key blocks, ${kind === "map" ? "1" : "kv_heads"}, sequences)`,
    notes: {
      sums: "f32[sequences, query_heads, capacity]",
      output: "f32[map_offset + rows, map_stride], zero after a row's own position",
      rows: "f32[sequences, heads_total, capacity]; zero or as it was after the newest token",
    },
    twin: `attention_${kind}.ts`,
  });
}
