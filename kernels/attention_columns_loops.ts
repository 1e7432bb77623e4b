/**
 * Loops of the attention kernels whose lanes own keys: what is done with each query of a tile.
 *
 * @module
 */

import type { KeyFormat } from "./attention_input.ts";
import {
  type HandOut,
  loadText,
  repeat,
  sharedVector,
  type TileVectors,
} from "./attention_wgsl.ts";

/**
 * What becomes of attention. `sums`: added up over the rows of a step, for every head. `map`: the rows of one head.
 * `rows`: the only row of every head, with zeros behind it.
 */
export type ColumnsKind = "sums" | "map" | "rows";

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
  /** What becomes of attention. */
  readonly kind: ColumnsKind;
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
 * Writes what a workgroup does with a block of keys.
 *
 * @param options What to generate.
 * @returns WGSL text.
 */
export function blockText(options: ColumnsOptions): string {
  const keys = repeat(options.laneKeys, (column) => keyText(options, column));
  return `${keys}\n${options.kind === "map" ? mapText(options) : headsText(options)}`;
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

function headsText(options: ColumnsOptions): string {
  const isSums = options.kind === "sums";
  return `for (var member = 0u; member < group_size; member++) {
let head = kv_head * group_size + member;
${isSums ? sumsText(options) : rowText(options)}
}`;
}

/** The tokens of a step are weighted as they are added: the last one has weight 1. */
function sumsText(options: ColumnsOptions): string {
  const columns = options.laneKeys;
  return `${repeat(columns, (column) => `var total${column} = 0.0;`)}
let first_token = select(0u, block - start, block > start);
for (var token = first_token; token <= last_token; token += TILE_ROWS) {
${tileScoresText(options)}
${
    repeat(options.tileRows, (row) =>
      repeat(columns, (column) =>
        `if (token + ${row}u <= last_token) {
  total${column} = total${column} * params.row_decay +
    select(0.0, a${row}_${column}, key${column} <= start + token + ${row}u);
}`))
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
  }`;
}

function rowText(options: ColumnsOptions): string {
  const stores = repeat(options.laneKeys, (column) =>
    `if (key${column} < params.capacity) {
  rows[first_row_word + key${column}] = select(0.0, a0_${column}, key${column} <= start);
}`);
  return `let token = 0u;
let first_row_word =
  (sequence * params.heads_total + params.head_offset + head) * params.capacity;
${tileScoresText(options)}
${stores}`;
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
