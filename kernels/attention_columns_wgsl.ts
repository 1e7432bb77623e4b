/**
 * WGSL of the attention kernels whose lanes own keys: `attention_sums` and `attention_map`.
 *
 * Each lane keeps its keys in registers; the queries are loaded once for all lanes and handed out. Scores are computed
 * anew, and the log-sum-exp that `flash_attention` left turns them into attention.
 *
 * @module
 */

import type { KernelContract } from "../gpu/kernel.ts";
import type { KeyFormat } from "./attention_input.ts";
import {
  bindingsText,
  type HandOut,
  handOut,
  headerText,
  loadText,
  paramsText,
  repeat,
  sharedVector,
  tileBytes,
  tileText,
  type TileVectors,
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

/** What distinguishes one generated kernel from another. */
export interface ColumnsOptions {
  /** Entry point. */
  readonly name: string;
  /** Elements of a head. */
  readonly headDim: number;
  /** How queries reach all lanes. */
  readonly handOut: HandOut;
  /** Keys of each lane. */
  readonly laneKeys: number;
  /** Queries loaded together; at most the lanes. */
  readonly tileRows: number;
  /** How keys are stored; `f16` if left out. */
  readonly keyFormat?: KeyFormat | undefined;
  /** Storage bindings. */
  readonly bindings: Readonly<Record<string, string>>;
  /** Fields of `Params`. */
  readonly params: Readonly<Record<string, string>>;
  /** Whether the attention of one head is stored, rather than the sums over rows of every head. */
  readonly isMap: boolean;
}

/**
 * Lists the queries of a tile.
 *
 * @param options Head size and queries.
 * @returns The vectors to hand out.
 */
export function queryTile(options: {
  readonly headDim: number;
  readonly tileRows: number;
}): TileVectors {
  return {
    name: "query",
    count: options.tileRows,
    pieces: options.headDim / 4,
    isHalves: false,
    load: (row, part) =>
      `qkv[(first_row + min(token + ${row}, last_token)) * (params.stride / 4u) + head * FOURS + ${part}]`,
  };
}

/**
 * Writes a kernel.
 *
 * @param options What to generate.
 * @returns WGSL text that compiles alone.
 */
export function columnsText(options: ColumnsOptions): string {
  const { name, handOut: lanes, isMap } = options;
  const sumsMemory = `var<workgroup> log_sum_tile: array<f32, ${options.tileRows}>;\n`;
  return `${columnsHeader(options)}${bindingsText(options.bindings)}${paramsText(options.params)}
const LANES = ${lanes.lanes}u;
const BLOCK_KEYS = ${lanes.lanes * options.laneKeys}u;
const TILE_ROWS = ${options.tileRows}u;
const FOURS = ${options.headDim / 4}u;
const LOG2_E = 1.4426950408889634;
${tileText(queryTile(options), lanes)}${
    lanes.isSubgroup ? "" : sumsMemory
  }${UNPACK_TEXT}${VISIBLE_TEXT}
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
${repeat(options.laneKeys, (column) => keyText(options, column))}
${isMap ? mapText(options) : sumsText(options)}
}
}
`;
}

function columnsHeader(options: ColumnsOptions): string {
  const { name, bindings, isMap, keyFormat } = options;
  return headerText({
    name,
    bindings,
    keyFormat,
    summary: isMap
      ? "attention of one query head, row by row"
      : "attention that each key receives from the rows of a step, added to what is there",
    grid: isMap
      ? "(stripes of key blocks, 1, sequences)"
      : "(stripes of key blocks, kv_heads, sequences)",
    notes: {
      sums: "f32[sequences, query_heads, capacity]",
      output: "f32[map_offset + rows, map_stride], zero after a row's own position",
    },
    twin: isMap ? "attention_map.ts" : "attention_sums.ts",
  });
}

/** The scale and the change to base 2 go into the key, once. */
function keyText(options: ColumnsOptions, column: number): string {
  const fours = options.headDim / 4;
  const halves = (piece: number) =>
    `let packed${column}_${piece} = keys[key_start${column} / 2u + ${piece}u];
let k${column}_${2 * piece} = low_half(packed${column}_${piece}) * (params.scale * LOG2_E);
let k${column}_${2 * piece + 1} = high_half(packed${column}_${piece}) * (params.scale * LOG2_E);`;
  const exact = (four: number) =>
    `let k${column}_${four} =
  bitcast<vec4f>(keys[key_start${column} + ${four}u]) * (params.scale * LOG2_E);`;
  return `let key${column} = block + ${column}u * LANES + lane;
let key_start${column} = (first_key + min(key${column}, seen - 1u)) * FOURS;
${options.keyFormat === "f32" ? repeat(fours, exact) : repeat(fours / 2, halves)}`;
}

function sumsText(options: ColumnsOptions): string {
  const columns = options.laneKeys;
  return `for (var member = 0u; member < group_size; member++) {
let head = kv_head * group_size + member;
${repeat(columns, (column) => `var total${column} = 0.0;`)}
let first_token = select(0u, block - start, block > start);
for (var token = first_token; token <= last_token; token += TILE_ROWS) {
${tileScoresText(options)}
${
    repeat(options.tileRows, (row) =>
      repeat(columns, (column) =>
        `total${column} += select(0.0, a${row}_${column},
  token + ${row}u <= last_token && key${column} <= start + token + ${row}u);`))
  }
}
${
    repeat(columns, (column) =>
      `if (key${column} < seen) {
  let bits${column} = visible_bits(head, key${column} / 32u) >> (key${column} % 32u);
  if ((bits${column} & 1u) == 1u) {
    sums[(sequence * params.query_heads + head) * params.capacity + key${column}] += total${column};
  }
}`)
  }
}`;
}

function mapText(options: ColumnsOptions): string {
  const columns = options.laneKeys;
  const bits = repeat(
    columns,
    (column) =>
      `let bits${column} = visible_bits(head, key${column} / 32u) >> (key${column} % 32u);`,
  );
  const stores = repeat(
    options.tileRows,
    (row) =>
      repeat(
        columns,
        (column) =>
          `if (token + ${row}u <= last_token && key${column} < params.map_stride) {
  let is_seen = key${column} <= start + token + ${row}u && (bits${column} & 1u) == 1u;
  let place = (params.map_offset + first_row + token + ${row}u) * params.map_stride + key${column};
  output[place] = select(0.0, a${row}_${column}, is_seen);
}`,
      ),
  );
  return `let head = params.head;
${bits}
for (var token = 0u; token <= last_token; token += TILE_ROWS) {
${tileScoresText(options)}
${stores}
}`;
}

/** Attention of the tile's rows to the lane's keys, before causality. */
function tileScoresText(options: ColumnsOptions): string {
  const { handOut: lanes, tileRows, laneKeys, headDim } = options;
  const tile = queryTile(options);
  const sumIndex = "head * params.rows + first_row + min(token + lane, last_token)";
  const sums = lanes.isSubgroup
    ? `let log_sums = log_sum[${sumIndex}] * LOG2_E;`
    : `if (lane < TILE_ROWS) { log_sum_tile[lane] = log_sum[${sumIndex}] * LOG2_E; }
workgroupBarrier();`;
  const products = repeat(tileRows, (row) =>
    repeat(headDim / 4, (four) => {
      const shared = sharedVector(tile, lanes, { vector: row, four });
      const terms = repeat(laneKeys, (column) =>
        four === 0
          ? `var score${row}_${column} = q${row}_0 * k${column}_0;`
          : `score${row}_${column} += q${row}_${four} * k${column}_${four};`);
      return `let q${row}_${four} = ${shared};\n${terms}`;
    }));
  const attention = repeat(tileRows, (row) => {
    const logSum = lanes.isSubgroup
      ? `subgroupBroadcast(log_sums, ${row}u)`
      : `log_sum_tile[${row}]`;
    return `let log_sum${row} = ${logSum};\n` + repeat(laneKeys, (column) => {
      const score = `score${row}_${column}`;
      return `let a${row}_${column} = exp2(
  (${score}.x + ${score}.y) + (${score}.z + ${score}.w) - log_sum${row});`;
    });
  });
  const barrier = lanes.isSubgroup
    ? ""
    : "\nworkgroupBarrier();  // the next round overwrites the tile";
  return `${loadText(tile, lanes)}\n${sums}\n${products}\n${attention}${barrier}`;
}
