/**
 * WGSL of the attention kernels whose lanes own query rows: `flash_attention` and `decode_attention`.
 *
 * A KV head's rows are numbered so that the query heads that share it come together: row u is the step's row
 * `u / groupSize` of query head `kvHead * groupSize + u % groupSize`. Each lane keeps query and output of its rows in
 * registers; keys and values are loaded once for all lanes and handed out.
 *
 * @module
 */

import type { KeyFormat } from "./attention_input.ts";
import {
  bindingsText,
  type HandOut,
  headerText,
  loadText,
  paramsText,
  repeat,
  sharedVector,
  tileText,
  type TileVectors,
  UNPACK_TEXT,
  VECTOR_BINDINGS,
  VISIBLE_TEXT,
} from "./attention_wgsl.ts";

/** What distinguishes one generated kernel from another. */
export interface FlashOptions {
  /** Entry point. */
  readonly name: string;
  /** Elements of a head. */
  readonly headDim: number;
  /** How keys and values reach all lanes. */
  readonly handOut: HandOut;
  /** How keys are stored; `f16` if left out. */
  readonly keyFormat?: KeyFormat | undefined;
  /** How values are stored; `f16` if left out. */
  readonly valueFormat?: KeyFormat | undefined;
  /** Query rows of each lane. */
  readonly laneRows: number;
  /** Keys between two rescalings of the output; a power of two up to 32. */
  readonly keys: number;
  /** Keys loaded together, a multiple of `keys`; the same where lanes broadcast. */
  readonly tileKeys: number;
  /** Storage bindings. */
  readonly bindings: Readonly<Record<string, string>>;
  /** Fields of `Params`. */
  readonly params: Readonly<Record<string, string>>;
  /** Whether the workgroups along x are splits of the keys, written as parts to be merged. */
  readonly isSplit: boolean;
}

/** What scores and output of a tile are written for. */
export type TileOptions = Pick<FlashOptions, "handOut" | "headDim" | "keys" | "laneRows">;

/** Which keys of a tile a row sees. */
export interface SeenKeys {
  /** Writes what the test of a row needs. */
  readonly setUp: (row: number) => string;
  /** Writes a WGSL condition for a key of the tile. */
  readonly test: (row: number, key: number) => string;
}

/** Keys that lie in the workgroup's range, not after the row, and are not masked. */
const CAUSAL: SeenKeys = {
  setUp: (row) =>
    `let bits${row} = visible_bits(head${row}, key_index / 32u) >> (key_index % 32u);\n`,
  test: (row, key) =>
    `key_index + ${key}u < end && key_index + ${key}u <= position${row} &&
    ((bits${row} >> ${key}u) & 1u) == 1u`,
};

/**
 * Writes a kernel.
 *
 * @param options What to generate.
 * @returns WGSL text that compiles alone.
 */
export function flashText(options: FlashOptions): string {
  const { name, handOut: lanes } = options;
  const tiles = tilesOf(options);
  return `${flashHeader(options)}${
    bindingsText(options.bindings, { ...VECTOR_BINDINGS, output: "vec4f" })
  }${paramsText(options.params)}
const LANES = ${lanes.lanes}u;
const LANE_ROWS = ${options.laneRows}u;
const TILE_KEYS = ${options.tileKeys}u;
const FOURS = ${options.headDim / 4}u;
const LOG2_E = 1.4426950408889634;
const LOWEST = -3.4e38;
${tiles.map((tile) => tileText(tile, lanes)).join("")}${UNPACK_TEXT}${VISIBLE_TEXT}
@compute @workgroup_size(${lanes.lanes})
fn ${name}(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
${placeText(options)}
${repeat(options.laneRows, (row) => queryText(options, row))}
for (var tile_key = begin; tile_key < end; tile_key += TILE_KEYS) {
${lanes.isSubgroup ? subgroupTileText(options, tiles) : workgroupTileText(options, tiles)}
}
${repeat(options.laneRows, (row) => resultText(options, row))}
}
`;
}

function flashHeader(options: FlashOptions): string {
  const { name, bindings, isSplit, keyFormat, valueFormat } = options;
  return headerText({
    name,
    bindings,
    keyFormat,
    valueFormat,
    summary: isSplit
      ? "attention of each row to a part of the keys it may see"
      : "attention of each row to the keys up to its own position",
    grid: isSplit
      ? "(splits of the keys, tiles of rows * kv_heads, sequences)"
      : "(tiles of rows, kv_heads, sequences)",
    notes: {
      output: "f32[rows, output_stride], heads side by side",
      partial:
        "f32[splits, rows, query_heads, 4 + head size]: largest score in base 2, sum of the\n" +
        "//         exponentials, two unused, weighted sum of the values",
    },
    twin: isSplit ? "decode_attention.ts" : "flash_attention.ts",
  });
}

function tilesOf(options: FlashOptions): [TileVectors, TileVectors] {
  const { tileKeys: count, headDim } = options;
  const row = (key: string) => `(first_key + min(tile_key + ${key}, end - 1u))`;
  const halves = (name: string, buffer: string): TileVectors => ({
    name,
    count,
    pieces: headDim / 8,
    isHalves: true,
    load: (key, part) => `${buffer}[${row(key)} * (FOURS / 2u) + ${part}]`,
  });
  const whole = (name: string, buffer: string): TileVectors => ({
    name,
    count,
    pieces: headDim / 4,
    isHalves: false,
    load: (key, part) => `bitcast<vec4f>(${buffer}[${row(key)} * FOURS + ${part}])`,
  });
  const vectors = (format: KeyFormat | undefined) => format === "f32" ? whole : halves;
  const { keyFormat, valueFormat } = options;
  return [vectors(keyFormat)("key", "keys"), vectors(valueFormat)("value", "values")];
}

function placeText(options: FlashOptions): string {
  const split = `let kv_head = group.y % params.kv_heads;
let first_row = (group.y / params.kv_heads) * LANES * LANE_ROWS;`;
  const whole = `let kv_head = group.y;
let first_row = group.x * LANES * LANE_ROWS;`;
  const range = `let keys_per_split =
  (seen + params.splits * TILE_KEYS - 1u) / (params.splits * TILE_KEYS) * TILE_KEYS;
let begin = group.x * keys_per_split;
let end = min(begin + keys_per_split, seen);`;
  return `let group_size = params.query_heads / params.kv_heads;
let row_count = params.rows_per_sequence * group_size;
${options.isSplit ? split : whole}
let sequence = state[0] + group.z;
let start = state[1u + sequence];
let first_key = (sequence * params.kv_heads + kv_head) * params.capacity;
let last_row = min(first_row + LANES * LANE_ROWS, row_count) - 1u;
let seen = min(start + last_row / group_size + 1u, params.capacity);
${options.isSplit ? range : "let begin = 0u;\nlet end = seen;"}`;
}

/** The scale and the change to base 2 go into the query, once. */
function queryText(options: FlashOptions, row: number): string {
  return `let index${row} = first_row + ${row}u * LANES + lane;
let own${row} = min(index${row}, row_count - 1u);
let token${row} = own${row} / group_size;
let head${row} = kv_head * group_size + own${row} % group_size;
let row${row} = group.z * params.rows_per_sequence + token${row};
let position${row} = start + token${row};
let query_start${row} = row${row} * (params.stride / 4u) + head${row} * FOURS;
${
    repeat(
      options.headDim / 4,
      (four) =>
        `let q${row}_${four} = qkv[query_start${row} + ${four}u] * (params.scale * LOG2_E);
var o${row}_${four} = vec4f();`,
    )
  }
var largest${row} = LOWEST;
var sum${row} = 0.0;`;
}

function subgroupTileText(options: FlashOptions, tiles: [TileVectors, TileVectors]): string {
  const [keys, values] = tiles;
  return `let key_index = tile_key;
${loadText(keys, options.handOut)}
${scoresText(options, keys, CAUSAL)}
${loadText(values, options.handOut)}
${outputText(options, values)}`;
}

function workgroupTileText(options: FlashOptions, tiles: [TileVectors, TileVectors]): string {
  const [keys, values] = tiles;
  return `${loadText(keys, options.handOut)}
${loadText(values, options.handOut)}
workgroupBarrier();
for (var inner = 0u; inner < TILE_KEYS; inner += ${options.keys}u) {
let key_index = tile_key + inner;
${scoresText(options, keys, CAUSAL)}
${outputText(options, values)}
}
workgroupBarrier();  // the next round overwrites the tiles`;
}

/**
 * Writes the scores of a tile's keys and a step of the online softmax over them: `s0_1` is the score of row 0 and key 1
 * in base 2, `p0_1` its exponential; `largest0`, `sum0` and `factor0` are brought up to date.
 *
 * @param options What to generate.
 * @param tile Keys, loaded.
 * @param seen Which of them count.
 * @returns WGSL text.
 */
export function scoresText(options: TileOptions, tile: TileVectors, seen: SeenKeys): string {
  const { laneRows, keys, headDim, handOut: lanes } = options;
  const offset = lanes.isSubgroup ? {} : { offset: "inner" };
  const products = repeat(keys, (key) =>
    repeat(headDim / 4, (four) => {
      const shared = sharedVector(tile, lanes, { vector: key, four, ...offset });
      const terms = repeat(laneRows, (row) =>
        four === 0
          ? `var score${row}_${key} = q${row}_0 * k${key}_0;`
          : `score${row}_${key} += q${row}_${four} * k${key}_${four};`);
      return `let k${key}_${four} = ${shared};\n${terms}`;
    }));
  return `${products}\n${repeat(laneRows, (row) => softmaxText(options, row, seen))}`;
}

/** One step of the online softmax: the new largest score, the factor for what was summed before, the exponentials. */
function softmaxText({ keys }: TileOptions, row: number, seen: SeenKeys): string {
  const scores = repeat(keys, (key) => {
    const score = `score${row}_${key}`;
    return `let is_seen${row}_${key} = ${seen.test(row, key)};
let s${row}_${key} = select(LOWEST,
  (${score}.x + ${score}.y) + (${score}.z + ${score}.w), is_seen${row}_${key});`;
  });
  const maxima = Array.from({ length: keys }, (_, key) => `s${row}_${key}`)
    .reduce((text, score) => `max(${text}, ${score})`, `largest${row}`);
  const weights = repeat(
    keys,
    (key) =>
      `let p${row}_${key} = select(0.0, exp2(s${row}_${key} - next${row}), is_seen${row}_${key});`,
  );
  const sum = Array.from({ length: keys }, (_, key) => `p${row}_${key}`).join(" + ");
  return `${seen.setUp(row)}${scores}
let next${row} = ${maxima};
let factor${row} = exp2(largest${row} - next${row});
largest${row} = next${row};
${weights}
sum${row} = sum${row} * factor${row} + (${sum});`;
}

/**
 * Writes the sum of a tile's values into the output registers `o0_0` and so on.
 *
 * @param options What to generate.
 * @param tile Values, loaded.
 * @returns WGSL text.
 */
export function outputText(options: TileOptions, tile: TileVectors): string {
  const { laneRows, keys, headDim, handOut: lanes } = options;
  const offset = lanes.isSubgroup ? {} : { offset: "inner" };
  return repeat(headDim / 4, (four) => {
    const vectors = repeat(keys, (key) => {
      const shared = sharedVector(tile, lanes, { vector: key, four, ...offset });
      return `let v${key}_${four} = ${shared};`;
    });
    const sums = repeat(laneRows, (row) => {
      const terms = Array.from({ length: keys }, (_, key) => `p${row}_${key} * v${key}_${four}`);
      return `o${row}_${four} = o${row}_${four} * factor${row} + ${terms.join(" + ")};`;
    });
    return `${vectors}\n${sums}`;
  });
}

function resultText(options: FlashOptions, row: number): string {
  const fours = options.headDim / 4;
  const part =
    `let part${row} = ((group.x * params.rows + row${row}) * params.query_heads + head${row})
  * (FOURS + 1u);
partial[part${row}] = vec4f(largest${row}, sum${row}, 0.0, 0.0);
${repeat(fours, (four) => `partial[part${row} + ${four + 1}u] = o${row}_${four};`)}`;
  const whole =
    `let output_start${row} = row${row} * (params.output_stride / 4u) + head${row} * FOURS;
${repeat(fours, (four) => `output[output_start${row} + ${four}u] = o${row}_${four} / sum${row};`)}
log_sum[head${row} * params.rows + row${row}] = (largest${row} + log2(sum${row})) / LOG2_E;`;
  return `if (index${row} < row_count) {\n${options.isSplit ? part : whole}\n}`;
}
