//# if SPLIT
// selected_attention_split: attention of each row to a split of the listed tokens, in parts to be merged
//
// grid    (tiles of rows * splits, the larger of groups_per_layer and kv_heads, sequences)
//# else
// selected_attention: attention of each row to the listed tokens, to value-only ones by a small model's attention
//
// grid    (tiles of rows, the larger of groups_per_layer and kv_heads, sequences)
//# end
// reads   state            u32: first sequence of the step, then the cached tokens of each sequence
//         qkv              f32[rows, stride], query heads first, after RoPE
//         keys             f16x2[head vectors, HEAD_DIM / 2], after RoPE, or the bits of as many f32
//         values           the same, without RoPE
//         lists            u32[sequences, groups, list_words], see selection_list.ts
//         small_attention  f32[sequences * rows_per_sequence, small_heads, capacity], of these rows
//# if SINKS
//         sinks            f32[query_heads], logit of a key without a value
//# end
//# if SPLIT
// writes  partial          f32[splits, rows, query_heads, 8 + 2 * HEAD_DIM], see attention_merge.ts
//         attention        f32[rows, query_heads, attention_stride], in the order of the list, if has_attention is 1:
//                          scores of full tokens in base 2
//# else
// writes  output           f32[rows, output_stride], heads side by side
//         attention        f32[rows, query_heads, attention_stride], in the order of the list, if has_attention is 1:
//                          softmax over full tokens
//# end
// twin    selected_reference.ts

const LANES: u32 = 8;
const KEYS: u32 = 4;           // tokens between two rescalings
const TILE_KEYS: u32 = 4;      // tokens loaded together; the same where lanes broadcast
const VEC4S: u32 = 16;         // of a head
const PIECES: u32 = 8;         // of eight elements of a head
const ROUNDS: u32 = 4;         // pieces of a tile that a lane loads where lanes broadcast
const WORD_ROUNDS: u32 = 1;    // words of a tile's list entries that a lane loads there
const KEY_LINES: u32 = 2;      // cache lines that a key takes
const VALUE_LINES: u32 = 2;    // and a value
const KEY_VECTORS: u32 = 8;    // vec4u of a stored key
const VALUE_VECTORS: u32 = 8;  // and of a stored value
const TIERS: u32 = 2;          // full tokens, then value-only ones
const HEADER_WORDS: u32 = 4;   // of a list before its matched heads
const BROKEN: f32 = -1.0;      // stands for the full tokens of a broken list
const WEIGHED_REST: u32 = 256; // added to how tokens join where the rest needs the masses of full tokens

struct Params {
  rows: u32,
  rows_per_sequence: u32,
  capacity: u32,
  stride: u32,
  output_stride: u32,
  query_heads: u32,
  kv_heads: u32,
  scale: f32,
  groups_per_layer: u32,
  group_offset: u32,
  groups: u32,
  list_words: u32,
  small_heads: u32,
  row_stride: u32,
  has_attention: u32,
  attention_stride: u32,
//# if SPLIT
  splits: u32,
//# end
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> keys: array<vec4u>;
@group(0) @binding(3) var<storage, read> values: array<vec4u>;
@group(0) @binding(4) var<storage, read> lists: array<u32>;
@group(0) @binding(5) var<storage, read> small_attention: array<f32>;
//# if SPLIT
@group(0) @binding(6) var<storage, read_write> partial: array<vec4f>;
//# else
@group(0) @binding(6) var<storage, read_write> output: array<vec4f>;
//# end
@group(0) @binding(7) var<storage, read_write> attention: array<f32>;
//# if SINKS
@group(0) @binding(8) var<storage, read> sinks: array<f32>;
//# end
@group(1) @binding(0) var<uniform> params: Params;
//# if !SUBGROUP

var<workgroup> key_tile: array<vec4f, TILE_KEYS * VEC4S>;
var<workgroup> value_tile: array<vec4f, TILE_KEYS * VEC4S>;
//# end
//# if SPLIT

// Entries of a split, whole tiles; the last splits of a short list have none.
fn split_length(count: u32) -> u32 {
  let tiles = params.splits * TILE_KEYS;
  return (count + tiles - 1u) / tiles * TILE_KEYS;
}
//# end

@compute @workgroup_size(LANES)
fn selected_attention(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  // The list, and which of its query rows the lane has; heads of a head group, and of a KV head, are consecutive.
  let parts = max(params.groups_per_layer, params.kv_heads);
  let part_heads = params.query_heads / parts;
  let group_heads = params.query_heads / params.groups_per_layer;
  let kv_head = group.y / (parts / params.kv_heads);
  let head_group = params.group_offset + group.y / (parts / params.groups_per_layer);
  let sequence = state[0] + group.z;
  let list = (sequence * params.groups + head_group) * params.list_words;
  let room = (params.list_words - HEADER_WORDS - group_heads) / 2u;
  let is_broken = lists[list] > room || lists[list + 1u] > room - min(lists[list], room);
  let kept = select(lists[list], 0u, is_broken);
  let marginal = select(lists[list + 1u], 0u, is_broken);
  let kept_sinks = lists[list + 2u];
  let mode = lists[list + 3u] % WEIGHED_REST;
//# if SPLIT
  let is_weighed = marginal > 0u || lists[list + 3u] >= WEIGHED_REST;
//# else
  let is_weighed = marginal > 0u;
//# end
  let first_head_row = kv_head * params.row_stride;
  let row_count = params.rows_per_sequence * part_heads;
//# if SPLIT
  let index = group.x / params.splits * LANES + lane;
  let split = group.x % params.splits;
//# else
  let index = group.x * LANES + lane;
//# end
  let u = min(index, row_count - 1u);
  let offset = u / part_heads;
  let head = group.y * part_heads + u % part_heads;
  let row = group.z * params.rows_per_sequence + offset;
  let position = state[1u + sequence] + offset;
  let small_head = lists[list + HEADER_WORDS + head % group_heads];
  let small_row = params.capacity *
    ((sequence * params.rows_per_sequence + offset) * params.small_heads + small_head);
  let attention_row = (row * params.query_heads + head) * params.attention_stride;

  var q = array<vec4f, VEC4S>();
  var o = array<vec4f, VEC4S>();  // sums of values of full tokens
  var m = array<vec4f, VEC4S>();  // and of value-only tokens
  let query = row * (params.stride / 4u) + head * VEC4S;
  for (var i = 0u; i < VEC4S; i++) {  // unroll
    q[i] = qkv[query + i] * score_factor();
  }
//# if SPLIT
  let softmax = softmax_start(head, split == 0u);
//# else
  let softmax = softmax_start(head, true);
//# end
  var largest = softmax.x;
  var sum = softmax.y;
  var kept_mass = 0.0;
  var marginal_mass = 0.0;
  var other_mass = 0.0;
  var other_sum = 0.0;
//# if SUBGROUP
  var ahead = 0u;
//# end

  var first_entry = list + HEADER_WORDS + group_heads;
  for (var is_marginal = 0u; is_marginal < TIERS; is_marginal++) {  // unroll
//# if is_marginal
    let count = marginal;
//# else
    let count = kept;
//# end
//# if SPLIT
    let begin = split * split_length(count);
    let entries = min(begin + split_length(count), count);
//# else
    let begin = 0u;
    let entries = count;
//# end
    for (var tile_key = begin; tile_key < entries; tile_key += TILE_KEYS) {
      var token = array<u32, KEYS>();
//# if SUBGROUP
      let key_index = tile_key;
      // WGSL has no prefetch, and on a software adapter scattered rows cost more time than arithmetic: each lane reads
      // a word of every cache line of one entry, so that at least the loads overlap.
      if (tile_key % LANES == 0u) {
        let far =
          lists[first_entry + 2u * min(tile_key + lane, entries - 1u) + 1u] + first_head_row;
//# if !is_marginal
        for (var line = 0u; line < KEY_LINES; line++) {  // unroll
          ahead ^= keys[far * KEY_VECTORS + 4u * line].x;
        }
//# end
        for (var line = 0u; line < VALUE_LINES; line++) {  // unroll
          ahead ^= values[far * VALUE_VECTORS + 4u * line].x;
        }
      }
      var word = array<u32, WORD_ROUNDS>();
      for (var round = 0u; round < WORD_ROUNDS; round++) {  // unroll
        word[round] =
          lists[first_entry + min(2u * tile_key + lane + round * LANES, 2u * entries - 1u)];
      }
      var tile_row = vec4u();
      for (var key = 0u; key < KEYS; key++) {  // unroll
        token[key] = subgroupBroadcast(word[2u * key / LANES], 2u * key % LANES);
        tile_row[key] = subgroupBroadcast(word[(2u * key + 1u) / LANES], (2u * key + 1u) % LANES);
      }
      let source = (tile_row[lane % KEYS] + first_head_row) * PIECES;
      var key_part = array<mat2x4f, ROUNDS>();
      var value_part = array<mat2x4f, ROUNDS>();
      for (var round = 0u; round < ROUNDS; round++) {  // unroll
        let piece = source + min(lane / KEYS * ROUNDS + round, PIECES - 1u);
//# if !is_marginal
        key_part[round] = key_piece(piece);
//# end
        value_part[round] = value_piece(piece);
      }
//# else
      for (var i = lane; i < TILE_KEYS * PIECES; i += LANES) {
        let entry = first_entry + 2u * min(tile_key + i / PIECES, entries - 1u);
        let piece = (first_head_row + lists[entry + 1u]) * PIECES + i % PIECES;
//# if !is_marginal
        let key = key_piece(piece);
        key_tile[2u * i] = key[0];
        key_tile[2u * i + 1u] = key[1];
//# end
        let value = value_piece(piece);
        value_tile[2u * i] = value[0];
        value_tile[2u * i + 1u] = value[1];
      }
      workgroupBarrier();
      for (var inner = 0u; inner < TILE_KEYS; inner += KEYS) {
      let key_index = tile_key + inner;
      for (var key = 0u; key < KEYS; key++) {  // unroll
        token[key] = lists[first_entry + 2u * min(key_index + key, entries - 1u)];
      }
//# end

//# if is_marginal
      var mass = array<f32, KEYS>();
      for (var key = 0u; key < KEYS; key++) {  // unroll
        if (key_index + key < entries && sees(position, token[key])) {
          mass[key] = small_attention[small_row + token[key]];
        }
        marginal_mass += mass[key];
      }
      for (var i = 0u; i < VEC4S; i++) {  // unroll
        var step = vec4f();
        for (var key = 0u; key < KEYS; key++) {  // unroll
//# if SUBGROUP
          step += mass[key] *
            subgroupBroadcast(value_part[i / 2u % ROUNDS][i % 2u], key + KEYS * (i / 2u / ROUNDS));
//# else
          step += mass[key] * value_tile[(inner + key) * VEC4S + i];
//# end
        }
        m[i] += step;
      }
//# else
      var is_seen = array<bool, KEYS>();
      var score = array<f32, KEYS>();
      var next = largest;
      for (var key = 0u; key < KEYS; key++) {  // unroll
        var product = vec4f();
        for (var i = 0u; i < VEC4S; i++) {  // unroll
//# if SUBGROUP
          product += q[i] *
            subgroupBroadcast(key_part[i / 2u % ROUNDS][i % 2u], key + KEYS * (i / 2u / ROUNDS));
//# else
          product += q[i] * key_tile[(inner + key) * VEC4S + i];
//# end
        }
        is_seen[key] = key_index + key < entries && sees(position, token[key]);
        score[key] = select(LOWEST, score_of(product), is_seen[key]);
        next = max(next, score[key]);
      }
      let factor = exp2(largest - next);
      largest = next;
      var p = array<f32, KEYS>();
      var total = 0.0;
      for (var key = 0u; key < KEYS; key++) {  // unroll
        p[key] = select(0.0, exp2(score[key] - next), is_seen[key]);
        total += p[key];
      }
      sum = sum * factor + total;
      for (var i = 0u; i < VEC4S; i++) {  // unroll
        o[i] *= factor;
        for (var key = 0u; key < KEYS; key++) {  // unroll
//# if SUBGROUP
          o[i] += p[key] *
            subgroupBroadcast(value_part[i / 2u % ROUNDS][i % 2u], key + KEYS * (i / 2u / ROUNDS));
//# else
          o[i] += p[key] * value_tile[(inner + key) * VEC4S + i];
//# end
        }
      }

      if (mode == JOINT_NOSINK) {
        other_sum *= factor;
        for (var key = 0u; key < KEYS; key++) {  // unroll
          if (key_index + key >= kept_sinks) { other_sum += p[key]; }
        }
      }
      if (is_weighed) {
        for (var key = 0u; key < KEYS; key++) {  // unroll
          if (is_seen[key]) {
            let mass = small_attention[small_row + token[key]];
            kept_mass += mass;
            if (key_index + key >= kept_sinks) { other_mass += mass; }
          }
        }
      }
      if (params.has_attention == 1u && index < row_count) {
        for (var key = 0u; key < KEYS; key++) {  // unroll
          if (key_index + key < entries) { attention[attention_row + key_index + key] = score[key]; }
        }
      }
//# end
//# if !SUBGROUP
      }
      workgroupBarrier();  // the next round overwrites the tiles
//# end
    }
//# if !is_marginal
//# if !SPLIT
    // A lane reads only what it wrote itself.
    if (params.has_attention == 1u && index < row_count) {
      for (var entry = 0u; entry < kept; entry++) {
        attention[attention_row + entry] = exp2(attention[attention_row + entry] - largest) / sum;
      }
    }
//# end
//# end
    first_entry += 2u * count;
  }

  if (index < row_count) {
//# if SPLIT
    let place = ((split * params.rows + row) * params.query_heads + head) * (2u + 2u * VEC4S);
    partial[place] = vec4f(largest, sum, kept_mass, marginal_mass);
    partial[place + 1u] =
      vec4f(other_mass, other_sum, f32(mode), select(f32(kept), BROKEN, is_broken));
    for (var i = 0u; i < VEC4S; i++) {  // unroll
      partial[place + 2u + i] = o[i];
      partial[place + 2u + VEC4S + i] = m[i];
    }
//# else
    let place = row * (params.output_stride / 4u) + head * VEC4S;
    let factors =
      marginal_factors(mode, vec3f(kept_mass, marginal_mass, other_mass), other_sum / sum);
    // A broken list must not look like a result: its count becomes the bits of NaN.
    let no_number = bitcast<f32>(lists[list] | 0x7fc00000u);
    for (var i = 0u; i < VEC4S; i++) {  // unroll
      let joined = o[i] / sum * factors.x + m[i] * factors.y;
      output[place + i] = select(joined, vec4f(no_number), is_broken);
    }
//# end
  }
//# if SUBGROUP
  // Keeps drivers from removing the reads ahead as unused: none can know that this condition never holds.
  if (params.rows == 0u) {
//# if SPLIT
    partial[0] = vec4f(bitcast<f32>(ahead));
//# else
    output[0] = vec4f(bitcast<f32>(ahead));
//# end
  }
//# end
}
