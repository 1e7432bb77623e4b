/**
 * The straight parts of `selected_attention`'s WGSL: where a workgroup and its lanes are, and what follows each loop.
 *
 * @module
 */

import { repeat, type TileVectors } from "./attention_wgsl.ts";

/**
 * Writes which list, and which of its query rows the lane has; heads of a unit, and of a KV head, are consecutive.
 *
 * @param isSplit Whether the workgroups along x are splits of the list within tiles of rows.
 * @returns WGSL text.
 */
export function placeText(isSplit: boolean): string {
  return `let parts = max(params.units_per_layer, params.kv_heads);
let part_heads = params.query_heads / parts;
let unit_heads = params.query_heads / params.units_per_layer;
let kv_head = group.y / (parts / params.kv_heads);
let unit = params.unit_offset + group.y / (parts / params.units_per_layer);
let sequence = state[0] + group.z;
let list = (sequence * params.units + unit) * params.list_words;
let room = (params.list_words - HEADER_WORDS - unit_heads) / 2u;
let is_broken = lists[list] > room || lists[list + 1u] > room - min(lists[list], room);
let kept = select(lists[list], 0u, is_broken);
let marginal = select(lists[list + 1u], 0u, is_broken);
let kept_sinks = lists[list + 2u];
let combine = lists[list + 3u];
let has_masses = marginal > 0u;
let first_head_row = kv_head * params.row_stride;
let row_count = params.rows_per_sequence * part_heads;
let index = ${isSplit ? "group.x / params.splits" : "group.x"} * LANES + lane;
let own = min(index, row_count - 1u);
let offset = own / part_heads;
let head = group.y * part_heads + own % part_heads;
let row = group.z * params.rows_per_sequence + offset;
let position0 = state[1u + sequence] + offset;
let helper_head = lists[list + HEADER_WORDS + head % unit_heads];
let helper_row = ((sequence * params.rows_per_sequence + offset) * params.helper_heads + helper_head)
  * params.capacity;
let weight_row = (row * params.query_heads + head) * params.weight_stride;
var kept_mass = 0.0;
var marginal_mass = 0.0;
var other_mass = 0.0;
var other_sum = 0.0;`;
}

/** Entries of a split, whole tiles; the last splits of a short list have none. */
export const SPLIT_TEXT: string = `
fn split_length(count: u32) -> u32 {
  let tiles = params.splits * TILE_KEYS;
  return (count + tiles - 1u) / tiles * TILE_KEYS;
}
`;

/**
 * Writes which entries of the list the workgroup sees.
 *
 * @param count Entries, a WGSL expression.
 * @param isSplit Whether it sees but a split of them.
 * @returns WGSL statements that set `begin` and `entries`.
 */
export function rangeText(count: string, isSplit: boolean): string {
  return isSplit
    ? `begin = group.x % params.splits * split_length(${count});
entries = min(begin + split_length(${count}), ${count});`
    : `entries = ${count};`;
}

/**
 * Writes the load of the lane's query, with the scale and the change to base 2 in it.
 *
 * @param headDim Elements of a head.
 * @returns WGSL text.
 */
export function queryText(headDim: number): string {
  return `let query_start = row * (params.stride / 4u) + head * FOURS;
${
    repeat(headDim / 4, (four) =>
      `let q0_${four} = qkv[query_start + ${four}u] * (params.scale * LOG2_E);
var o0_${four} = vec4f();`)
  }
var largest0 = LOWEST;
var sum0 = 0.0;`;
}

/** Pieces of 16 bytes in a line of memory. */
const LINE_PIECES = 4;

/**
 * Writes reads of the next rows of the list, a word from each line of memory: rows that lie apart cost a software adapter
 * more time than its arithmetic, WGSL has no prefetch, and so at least all of them are on their way together.
 *
 * @param tiles What will be loaded.
 * @returns WGSL text.
 */
export function aheadText(tiles: readonly TileVectors[]): string {
  const reads = tiles.map(({ name, pieces }) =>
    repeat(
      Math.ceil(pieces / LINE_PIECES),
      (line) => `ahead ^= ${name}s[far_row * ${pieces}u + ${LINE_PIECES * line}u].x;`,
    )
  );
  return `if (tile_key % LANES == 0u) {
let far_row = lists[first_entry + 2u * min(tile_key + lane, entries - 1u) + 1u] + first_head_row;
${reads.join("\n")}
}`;
}

/**
 * Writes a use of what was read ahead, without which a driver would leave the reads out; that it never happens no driver
 * knows.
 *
 * @param isSplit Whether the kernel writes parts.
 * @returns WGSL text.
 */
export function aheadUseText(isSplit: boolean): string {
  return `if (params.rows == 0u) { ${
    isSplit ? "partial" : "output"
  }[0] = vec4f(bitcast<f32>(ahead)); }`;
}

/** Scores become a softmax; a lane reads only what it wrote itself. */
export const WEIGHTS_TEXT: string = `if (params.has_weights == 1u && index < row_count) {
for (var entry = 0u; entry < kept; entry++) {
weights[weight_row + entry] = exp2(weights[weight_row + entry] - largest0) / sum0;
}
}`;

/**
 * Writes the registers that sum the values of marginal tokens; queries are no longer needed by then.
 *
 * @param headDim Elements of a head.
 * @returns WGSL text.
 */
export function marginalStartText(headDim: number): string {
  return repeat(headDim / 4, (four) => `var m0_${four} = vec4f();`);
}

/** Factors of both parts, once the masses of all listed tokens are summed. */
export const FACTORS_TEXT: string = `var kept_factor = 1.0;
var marginal_factor = 0.0;
if (kept_mass + marginal_mass >= LEAST_MASS) {
marginal_factor = 1.0;
if (combine == JOINT) {
kept_factor = kept_mass / (kept_mass + marginal_mass);
marginal_factor = 1.0 / (kept_mass + marginal_mass);
} else if (combine == MASS_SPLIT) {
kept_factor = 1.0 - marginal_mass;
} else if (combine == EQ6_EST) {
kept_factor = kept_mass;
} else if (combine == JOINT_NOSINK) {
let own_others = other_sum / sum0;
let total = other_mass + own_others * marginal_mass;
kept_factor = select(1.0, other_mass / total, other_mass >= LEAST_MASS);
marginal_factor = select(0.0, own_others / total, other_mass >= LEAST_MASS);
}
}`;

/**
 * Writes the store of the output, the sum of both parts. A broken list must not look like a result: its kept count becomes the bits of no number.
 *
 * @param headDim Elements of a head.
 * @returns WGSL text.
 */
export function resultText(headDim: number): string {
  return `if (index < row_count) {
let output_start = row * (params.output_stride / 4u) + head * FOURS;
let no_number = bitcast<f32>(lists[list] | 0x7fc00000u);
${
    repeat(
      headDim / 4,
      (four) =>
        `output[output_start + ${four}u] = select(
  o0_${four} / sum0 * kept_factor + m0_${four} * marginal_factor, vec4f(no_number), is_broken);`,
    )
  }
}`;
}

/**
 * Writes the store of a split's part, which `selected_attention_merge` joins with the others.
 *
 * @param headDim Elements of a head.
 * @returns WGSL text.
 */
export function partText(headDim: number): string {
  return `if (index < row_count) {
let split = group.x % params.splits;
let part = ((split * params.rows + row) * params.query_heads + head) * (2u + 2u * FOURS);
partial[part] = vec4f(largest0, sum0, kept_mass, marginal_mass);
partial[part + 1u] =
  vec4f(other_mass, other_sum, f32(combine), select(f32(kept), BROKEN, is_broken));
${
    repeat(headDim / 4, (four) =>
      `partial[part + ${2 + four}u] = o0_${four};
partial[part + ${2 + headDim / 4 + four}u] = m0_${four};`)
  }
}`;
}
