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
//
// The same as selected_attention.wgsl for GPUs: a workgroup reads listed keys and values once for all query heads that
// share a list and a KV head; shared_rows.wgsl says what a lane does.

const TIERS: u32 = 2;           // full tokens, then value-only ones
const HEADER_WORDS: u32 = 4;    // of a list before its matched heads
const BROKEN: f32 = -1.0;       // stands for the full tokens of a broken list
const WEIGHED_REST: u32 = 256;  // added to how tokens join where the rest needs the masses of full tokens

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
//# if F32_VALUES
@group(0) @binding(3) var<storage, read> values: array<vec4u>;
//# else
@group(0) @binding(3) var<storage, read> values: array<vec2u>;
//# end
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

var<workgroup> token_tile: array<vec2u, TILE_KEYS>;  // tokens, and their head vectors
//# if SPLIT
var<workgroup> other_tile: array<vec2f, ROWS>;       // mass and sum of all but the first full tokens

// Entries of a split, whole tiles; the last splits of a short list have none.
fn split_length(count: u32) -> u32 {
  let tiles = params.splits * TILE_KEYS;
  return (count + tiles - 1u) / tiles * TILE_KEYS;
}
//# end

@compute @workgroup_size(LANES)
fn shared_selected(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  // The list, and which of its query rows the workgroup has; heads of a head group, and of a KV head, are consecutive.
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
  let first_row = group.x / params.splits * ROWS;
  let split = group.x % params.splits;
//# else
  let first_row = group.x * ROWS;
  let split = 0u;
//# end
  for (var i = lane; i < ROWS * VEC4S; i += LANES) {
    let u = min(first_row + i / VEC4S, row_count - 1u);
    let row = group.z * params.rows_per_sequence + u / part_heads;
    let query = row * (params.stride / 4u) + (group.y * part_heads + u % part_heads) * VEC4S;
    query_tile[i % VEC4S * ROWS + i / VEC4S] = qkv[query + i % VEC4S] * score_factor();
  }

  // For the softmax; sums are of the lane's tokens.
  let own_row = lane % ROWS;
  let slice = lane / ROWS;
  let is_row = first_row + own_row < row_count;
  let own_u = min(first_row + own_row, row_count - 1u);
  let own_offset = own_u / part_heads;
  let own_head = group.y * part_heads + own_u % part_heads;
  let position = state[1u + sequence] + own_offset;
  let small_head = lists[list + HEADER_WORDS + own_head % group_heads];
  let small_row = params.capacity *
    ((sequence * params.rows_per_sequence + own_offset) * params.small_heads + small_head);
  let attention_row = params.attention_stride *
    ((group.z * params.rows_per_sequence + own_offset) * params.query_heads + own_head);
  let softmax = softmax_start(own_head, split == 0u);
  var largest = softmax.x;
  var sum = select(0.0, softmax.y, slice == 0u);
  var kept_mass = 0.0;
  var marginal_mass = 0.0;
  var other_mass = 0.0;
  var other_sum = 0.0;

  // To sum values up.
  let quad = lane % VEC4S;
  let key_part = lane / VEC4S;
  var o = array<vec4f, PART_ROWS>();  // of full tokens
  var m = array<vec4f, PART_ROWS>();  // and of value-only tokens
  workgroupBarrier();

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
      // TILE_KEYS is LANES here: each lane has an entry.
      let entry = first_entry + 2u * min(tile_key + lane, entries - 1u);
      let source = lists[entry + 1u] + first_head_row;
      token_tile[lane] = vec2u(lists[entry], source);
//# if !is_marginal
      keep_scores(0u, lane, multiply_rows(source * PIECES, 0u));
//# end
      workgroupBarrier();

//# if is_marginal
      for (var i = slice; i < TILE_KEYS; i += SLICES) {
        let token = token_tile[i].x;
        var mass = 0.0;
        if (tile_key + i < entries && sees(position, token)) {
          mass = small_attention[small_row + token];
        }
        marginal_mass += mass;
        score_tile[score_place(own_row, i)][own_row % 4u] = mass;
      }
//# else
      var next = largest;
      for (var i = slice; i < TILE_KEYS; i += SLICES) {
        let key = tile_key + i;
        let token = token_tile[i].x;
        let is_seen = key < entries && sees(position, token);
        let place = score_place(own_row, i);
        let score = score_of(vec4f(score_tile[place][own_row % 4u], 0.0, 0.0, 0.0));
        let seen = select(LOWEST, score, is_seen);
        score_tile[place][own_row % 4u] = seen;
        next = max(next, seen);
        if (params.has_attention == 1u && is_row && key < entries) {
          attention[attention_row + key] = seen;
        }
        if (is_weighed && is_seen) {
          let mass = small_attention[small_row + token];
          kept_mass += mass;
          if (key >= kept_sinks) { other_mass += mass; }
        }
      }
      next = row_max(lane, next);
      let factor = exp2(largest - next);
      largest = next;
      sum *= factor;
      other_sum *= factor;
      for (var i = slice; i < TILE_KEYS; i += SLICES) {
        let place = score_place(own_row, i);
        let score = score_tile[place][own_row % 4u];
        let p = select(exp2(score - next), 0.0, score == LOWEST);
        score_tile[place][own_row % 4u] = p;
        sum += p;
        if (mode == JOINT_NOSINK && tile_key + i >= kept_sinks) { other_sum += p; }
      }
      if (slice == 0u) { row_tile[own_row].x = factor; }
//# end
      workgroupBarrier();

      if (key_part < KEY_PARTS) {
//# if !is_marginal
        for (var r = 0u; r < PART_ROWS; r++) {  // unroll
          o[r] *= row_tile[r].x;
        }
//# end
        let last = min(TILE_KEYS, entries - tile_key);
        for (var first = key_part; first < last; first += KEY_PARTS * KEY_STEPS) {
          var v = array<vec4f, KEY_STEPS>();
          for (var step = 0u; step < KEY_STEPS; step++) {  // unroll
            let source = token_tile[min(first + step * KEY_PARTS, last - 1u)].y;
            v[step] = value_quad(source * VEC4S + quad);
          }
          for (var step = 0u; step < KEY_STEPS; step++) {  // unroll
            if (first + step * KEY_PARTS < last) {
              let place = first + step * KEY_PARTS;
              let p = array<vec4f, 2>(score_tile[place], score_tile[place + TILE_KEYS]);
              for (var r = 0u; r < PART_ROWS; r++) {  // unroll
//# if is_marginal
                m[r] += p[r / 4u][r % 4u] * v[step];
//# else
                o[r] += p[r / 4u][r % 4u] * v[step];
//# end
              }
            }
          }
        }
      }
      workgroupBarrier();  // the next round overwrites the scores
    }
    first_entry += 2u * count;
  }

  let masses = row_sums(lane, vec4f(kept_mass, marginal_mass, other_mass, other_sum));
  sum = row_sum(lane, sum);
//# if !SPLIT
  // A lane reads only what it wrote itself.
  if (params.has_attention == 1u && is_row) {
    for (var entry = slice; entry < kept; entry += SLICES) {
      attention[attention_row + entry] = exp2(attention[attention_row + entry] - largest) / sum;
    }
  }
//# end
  if (slice == 0u) {
//# if SPLIT
    row_tile[own_row] = vec4f(largest, sum, masses.xy);
    other_tile[own_row] = masses.zw;
//# else
    let factors = marginal_factors(mode, masses.xyz, masses.w / sum);
    row_tile[own_row] = vec4f(sum, factors, 0.0);
//# end
  }
  // A broken list must not look like a result: its count becomes the bits of NaN.
  let no_number = bitcast<f32>(lists[list] | 0x7fc00000u);
  // A loop at run time: see shared_attention.wgsl.
  for (var r = 0u; r < min(PART_ROWS, row_count - first_row); r++) {
    var own_full = vec4f();
    var own_marginal = vec4f();
    for (var i = 0u; i < PART_ROWS; i++) {  // unroll
      own_full = select(own_full, o[i], r == i);
      own_marginal = select(own_marginal, m[i], r == i);
    }
    let full = part_sum(lane, own_full);
    let value_only = part_sum(lane, own_marginal);
    if (key_part == 0u) {
      let u = first_row + r;
      let head = group.y * part_heads + u % part_heads;
      let row = group.z * params.rows_per_sequence + u / part_heads;
//# if SPLIT
      let place = ((split * params.rows + row) * params.query_heads + head) * (2u + 2u * VEC4S);
      partial[place + 2u + quad] = full;
      partial[place + 2u + VEC4S + quad] = value_only;
      if (quad == 0u) {
        partial[place] = row_tile[r];
        partial[place + 1u] =
          vec4f(other_tile[r], f32(mode), select(f32(kept), BROKEN, is_broken));
      }
//# else
      let joined = full / row_tile[r].x * row_tile[r].y + value_only * row_tile[r].z;
      let place = row * (params.output_stride / 4u) + head * VEC4S + quad;
      output[place] = select(joined, vec4f(no_number), is_broken);
//# end
    }
  }
}
