/**
 * WGSL of `selected_attention`: lanes own query rows, tokens come from a list.
 *
 * @module
 */

import type { KeyFormat } from "./attention_input.ts";
import {
  bindingsText,
  headerText,
  loadText,
  paramsText,
  repeat,
  sharedVector,
  tileText,
  type TileVectors,
  UNPACK_TEXT,
  VECTOR_BINDINGS,
} from "./attention_wgsl.ts";
import {
  type FlashOptions,
  outputText,
  scoresText,
  type SeenKeys,
} from "./flash_attention_wgsl.ts";
import { LEAST_MASS, MARGINAL_MODES } from "./marginal.ts";
import { BROKEN_PART } from "./selected_attention_merge.ts";
import {
  aheadText,
  aheadUseText,
  FACTORS_TEXT,
  marginalStartText,
  partText,
  placeText,
  queryText,
  rangeText,
  resultText,
  SPLIT_TEXT,
  WEIGHTS_TEXT,
} from "./selected_attention_parts.ts";
import { LIST_HEADER_WORDS } from "./selection_list.ts";

/** What distinguishes one generated kernel from another. */
export type SelectedOptions = Omit<FlashOptions, "laneRows">;

/** Tokens of the list that lie in it and not after the row. */
const LISTED: SeenKeys = {
  setUp: () => "",
  test: (_, key) => `key_index + ${key}u < entries && token${key} <= position0`,
};

/**
 * Writes a kernel.
 *
 * @param options What to generate.
 * @returns WGSL text that compiles alone.
 */
export function selectedText(options: SelectedOptions): string {
  const { name, handOut: lanes, headDim, isSplit } = options;
  const keys = listedTile(options, "key");
  const values = listedTile(options, "value");
  const modes = MARGINAL_MODES.map((mode, index) => `const ${mode.toUpperCase()} = ${index}u;`);
  return `${selectedHeader(options)}${
    bindingsText(options.bindings, { ...VECTOR_BINDINGS, output: "vec4f" })
  }${paramsText(options.params)}
const LANES = ${lanes.lanes}u;
const TILE_KEYS = ${options.tileKeys}u;
const FOURS = ${headDim / 4}u;
const HEADER_WORDS = ${LIST_HEADER_WORDS}u;
const LOG2_E = 1.4426950408889634;
const LOWEST = -3.4e38;
const LEAST_MASS = ${LEAST_MASS};
const BROKEN = f32(${BROKEN_PART});
${modes.join("\n")}
${tileText(keys, lanes)}${tileText(values, lanes)}${UNPACK_TEXT}${isSplit ? SPLIT_TEXT : ""}
@compute @workgroup_size(${lanes.lanes})
fn ${name}(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
${placeText(isSplit)}
${queryText(headDim)}
${lanes.isSubgroup ? "var ahead = 0u;" : ""}
var begin = 0u;
var entries = 0u;
var first_entry = list + HEADER_WORDS + unit_heads;
${rangeText("kept", isSplit)}
for (var tile_key = begin; tile_key < entries; tile_key += TILE_KEYS) {
${tileLoopText(options, { loads: [keys, values], body: keptText(options, keys, values) })}
}
${isSplit ? "" : WEIGHTS_TEXT}
${marginalStartText(headDim)}
first_entry += 2u * kept;
${rangeText("marginal", isSplit)}
for (var tile_key = begin; tile_key < entries; tile_key += TILE_KEYS) {
${tileLoopText(options, { loads: [values], body: marginalText(options, values) })}
}
${isSplit ? partText(headDim) : `${FACTORS_TEXT}\n${resultText(headDim)}`}
${lanes.isSubgroup ? aheadUseText(isSplit) : ""}
}
`;
}

function selectedHeader(options: SelectedOptions): string {
  const { name, bindings, keyFormat, valueFormat, isSplit } = options;
  const vectors = (format?: KeyFormat) =>
    format === "f32"
      ? "bits of f32[head vectors, head size]"
      : "f16x2[head vectors, head size / 2]";
  const weights =
    "f32[rows, query_heads, weight_stride], in the order of the list, if has_weights is 1:\n//          ";
  return headerText({
    name,
    bindings,
    summary: isSplit
      ? "attention of each row to a split of the listed tokens, in parts to be merged"
      : "attention of each row to the listed tokens, marginal ones by a helper's attention",
    grid: `(tiles of rows${
      isSplit ? " * splits" : ""
    }, the larger of units_per_layer and kv_heads, sequences)`,
    notes: {
      keys: `${vectors(keyFormat)}, after RoPE`,
      values: vectors(valueFormat),
      lists: "u32[sequences, units, list_words], see selection_list.ts",
      helper: "f32[sequences * rows_per_sequence, helper_heads, capacity], attention of the rows",
      output: "f32[rows, output_stride], heads side by side",
      partial: "f32[splits, rows, query_heads, 8 + 2 * head size], see selected_attention_merge.ts",
      weights: `${weights}${
        isSplit ? "scores of kept tokens in base 2" : "softmax over kept tokens"
      }`,
    },
    twin: isSplit ? "selected_attention_split.ts" : "selected_attention.ts",
  });
}

/** Keys or values of a tile of list entries. */
function listedTile(options: SelectedOptions, name: "key" | "value"): TileVectors {
  const { handOut: lanes, tileKeys: count, headDim } = options;
  const row = (token: string) =>
    lanes.isSubgroup
      ? `tile_rows[${token}]`
      : `(first_head_row + lists[first_entry + 2u * min(tile_key + ${token}, entries - 1u) + 1u])`;
  const format = name === "key" ? options.keyFormat : options.valueFormat;
  if (format === "f32") {
    return {
      name,
      count,
      pieces: headDim / 4,
      isHalves: false,
      isScattered: true,
      load: (token, part) => `bitcast<vec4f>(${name}s[${row(token)} * FOURS + ${part}])`,
    };
  }
  return {
    name,
    count,
    pieces: headDim / 8,
    isHalves: true,
    isScattered: true,
    load: (token, part) => `${name}s[${row(token)} * (FOURS / 2u) + ${part}]`,
  };
}

/** Loads a tile of list entries and runs the body on it, in steps of as many keys as are rescaled together. */
function tileLoopText(
  options: SelectedOptions,
  tile: { readonly loads: readonly TileVectors[]; readonly body: string },
): string {
  const { handOut: lanes, keys } = options;
  const loads = tile.loads.map((vectors) => loadText(vectors, lanes)).join("\n");
  if (!lanes.isSubgroup) {
    const tokens = repeat(
      keys,
      (key) =>
        `let token${key} = lists[first_entry + 2u * min(key_index + ${key}u, entries - 1u)];`,
    );
    return `${loads}
workgroupBarrier();
for (var inner = 0u; inner < TILE_KEYS; inner += ${keys}u) {
let key_index = tile_key + inner;
${tokens}
${tile.body}
}
workgroupBarrier();  // the next round overwrites the tiles`;
  }
  const words = repeat(
    Math.ceil(2 * keys / lanes.lanes),
    (round) =>
      `let words${round} =
  lists[first_entry + min(2u * tile_key + lane + ${round * lanes.lanes}u, 2u * entries - 1u)];`,
  );
  const word = (index: number) =>
    `subgroupBroadcast(words${Math.floor(index / lanes.lanes)}, ${index % lanes.lanes}u)`;
  const rows = Array.from({ length: keys }, (_, key) => word(2 * key + 1)).join(", ");
  return `let key_index = tile_key;
${aheadText(tile.loads)}
${words}
${repeat(keys, (key) => `let token${key} = ${word(2 * key)};`)}
let tile_rows = vec4u(${rows}) + first_head_row;
${loads}
${tile.body}`;
}

/** One step over kept tokens: softmax, output, and what the helper says of them. */
function keptText(options: SelectedOptions, keys: TileVectors, values: TileVectors): string {
  const tile = { ...options, laneRows: 1 };
  const sum = (prefix: string) =>
    Array.from({ length: options.keys }, (_, key) => `${prefix}${key}`).join(" + ");
  return `${scoresText(tile, keys, LISTED)}
${outputText(tile, values)}
if (combine == JOINT_NOSINK) {
other_sum *= factor0;
${
    repeat(
      options.keys,
      (key) => `if (key_index + ${key}u >= kept_sinks) { other_sum += p0_${key}; }`,
    )
  }
}
if (has_masses) {
${helperText(options, "is_seen0_")}
kept_mass += ${sum("mass")};
${
    repeat(
      options.keys,
      (key) => `if (key_index + ${key}u >= kept_sinks) { other_mass += mass${key}; }`,
    )
  }
}
if (params.has_weights == 1u && index < row_count) {
${
    repeat(
      options.keys,
      (key) =>
        `if (key_index + ${key}u < entries) { weights[weight_row + key_index + ${key}u] = s0_${key}; }`,
    )
  }
}`;
}

/** The helper's attention of the lane's row to a step's tokens. */
function helperText(options: SelectedOptions, seen: string): string {
  return repeat(
    options.keys,
    (key) =>
      `var mass${key} = 0.0;
if (${seen}${key}) { mass${key} = helper[helper_row + token${key}]; }`,
  );
}

function marginalText(options: SelectedOptions, values: TileVectors): string {
  const { keys, headDim, handOut: lanes } = options;
  const offset = lanes.isSubgroup ? {} : { offset: "inner" };
  const seen = repeat(
    keys,
    (key) => `let is_seen${key} = key_index + ${key}u < entries && token${key} <= position0;`,
  );
  const sums = repeat(headDim / 4, (four) => {
    const terms = Array.from({ length: keys }, (_, key) => {
      const shared = sharedVector(values, lanes, { vector: key, four, ...offset });
      return `mass${key} * ${shared}`;
    });
    return `m0_${four} += ${terms.join(" + ")};`;
  });
  const total = Array.from({ length: keys }, (_, key) => `mass${key}`).join(" + ");
  return `${seen}
${helperText(options, "is_seen")}
marginal_mass += ${total};
${sums}`;
}
