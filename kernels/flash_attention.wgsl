//# if SPLIT
// decode_attention: attention of each row to a part of the keys it may see
//
// grid    (splits of the keys, tiles of rows * kv_heads, sequences)
//# else
// flash_attention: attention of each row to the keys up to its own position
//
// grid    (tiles of rows, kv_heads, sequences)
//# end
// reads   state    u32: first sequence of the step, then the cached tokens of each sequence
//         qkv      f32[rows, stride], query heads first, after RoPE
//         keys     f16x2[sequences, kv_heads, capacity or RING, HEAD_DIM / 2], after RoPE, or the bits of as many f32,
//                  or codes, see quantized_rows.ts
//         values   the same, without RoPE
//         visible  bits[query_heads, visible_words], one per position; read if is_masked is 1
//# if SINKS
//         sinks    f32[query_heads], logit of a key without a value
//# end
//# if SPLIT
// writes  partial  f32[splits, rows, query_heads, 4 + HEAD_DIM]: largest score in base 2, sum of the exponentials,
//                  two unused, weighted sum of the values
//# else
// writes  output   f32[rows, output_stride], heads side by side
//         log_sum  f32[query_heads, rows], log-sum-exp of each row's scores
//# end
// twin    flash_attention.ts
//
// The rows of a KV head are numbered so that the query heads that share it are adjacent: row u is the step's row
// u / group_size of query head kv_head * group_size + u % group_size. A lane keeps queries and outputs of its rows in
// registers; keys and values are loaded once for all lanes, which get them by broadcast or from workgroup memory.

const LANES: u32 = 8;
const LANE_ROWS: u32 = 2;  // rows of a lane
const KEYS: u32 = 4;       // keys between two rescalings; a power of two up to 32
const TILE_KEYS: u32 = 4;  // keys loaded together; the same where lanes broadcast
const VEC4S: u32 = 16;     // of a head
const PIECES: u32 = 8;     // of eight elements of a head
const ROUNDS: u32 = 4;     // pieces of a tile that a lane loads where lanes broadcast

struct Params {
  rows: u32,
  rows_per_sequence: u32,
  capacity: u32,
  stride: u32,
  output_stride: u32,
  query_heads: u32,
  kv_heads: u32,
  scale: f32,
  is_masked: u32,
  visible_words: u32,
//# if SPLIT
  splits: u32,
//# end
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
//# if CODED_KEYS
@group(0) @binding(2) var<storage, read> keys: array<u32>;
//# else
@group(0) @binding(2) var<storage, read> keys: array<vec4u>;
//# end
//# if CODED_VALUES
@group(0) @binding(3) var<storage, read> values: array<u32>;
//# else
@group(0) @binding(3) var<storage, read> values: array<vec4u>;
//# end
@group(0) @binding(4) var<storage, read> visible: array<u32>;
//# if SPLIT
@group(0) @binding(5) var<storage, read_write> partial: array<vec4f>;
//# if SINKS
@group(0) @binding(6) var<storage, read> sinks: array<f32>;
//# end
//# else
@group(0) @binding(5) var<storage, read_write> output: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> log_sum: array<f32>;
//# if SINKS
@group(0) @binding(7) var<storage, read> sinks: array<f32>;
//# end
//# end
@group(1) @binding(0) var<uniform> params: Params;
//# if !SUBGROUP

var<workgroup> key_tile: array<vec4f, TILE_KEYS * VEC4S>;
var<workgroup> value_tile: array<vec4f, TILE_KEYS * VEC4S>;
//# end

@compute @workgroup_size(LANES)
fn flash_attention(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let group_size = params.query_heads / params.kv_heads;
  let row_count = params.rows_per_sequence * group_size;
//# if SPLIT
  let kv_head = group.y % params.kv_heads;
  let first_row = (group.y / params.kv_heads) * (LANES * LANE_ROWS);
//# else
  let kv_head = group.y;
  let first_row = group.x * (LANES * LANE_ROWS);
//# end
  let last_row = min(first_row + LANES * LANE_ROWS, row_count) - 1u;
  let sequence = state[0] + group.z;
  let start = state[1u + sequence];
  let first_key = (sequence * params.kv_heads + kv_head) * head_slots();
  let seen_from = first_seen(start + first_row / group_size) / TILE_KEYS * TILE_KEYS;
  let seen_to = min(start + last_row / group_size + 1u, params.capacity);
//# if SPLIT
  let tiles = params.splits * TILE_KEYS;
  let split_keys = (seen_to - seen_from + tiles - 1u) / tiles * TILE_KEYS;
  let begin = seen_from + group.x * split_keys;
  let end = min(begin + split_keys, seen_to);
//# else
  let begin = seen_from;
  let end = seen_to;
//# end

  var head: array<u32, LANE_ROWS>;
  var row: array<u32, LANE_ROWS>;
  var position: array<u32, LANE_ROWS>;
  var q: array<vec4f, LANE_ROWS * VEC4S>;
  var o: array<vec4f, LANE_ROWS * VEC4S>;
  var largest: array<f32, LANE_ROWS>;
  var sum: array<f32, LANE_ROWS>;
  for (var r = 0u; r < LANE_ROWS; r++) {  // unroll
    let u = min(first_row + r * LANES + lane, row_count - 1u);
    head[r] = kv_head * group_size + u % group_size;
    row[r] = group.z * params.rows_per_sequence + u / group_size;
    position[r] = start + u / group_size;
    let query = row[r] * (params.stride / 4u) + head[r] * VEC4S;
    for (var i = 0u; i < VEC4S; i++) {  // unroll
      q[r * VEC4S + i] = qkv[query + i] * score_factor();
    }
//# if SPLIT
    let softmax = softmax_start(head[r], group.x == 0u);
//# else
    let softmax = softmax_start(head[r], true);
//# end
    largest[r] = softmax.x;
    sum[r] = softmax.y;
  }

  for (var tile_key = begin; tile_key < end; tile_key += TILE_KEYS) {
//# if SUBGROUP
    let key_index = tile_key;
    var source: array<u32, ROUNDS>;
    var part: array<mat2x4f, ROUNDS>;
    for (var round = 0u; round < ROUNDS; round++) {  // unroll
//# if IS_EVEN
      let key = tile_key + round * LANES / PIECES;  // the same in all lanes
      let piece = round * LANES % PIECES + lane;
//# else
      let key = tile_key + min(round * LANES + lane, KEYS * PIECES - 1u) / PIECES;
      let piece = (round * LANES + lane) % PIECES;
//# end
      source[round] = (first_key + slot_of(min(key, end - 1u))) * PIECES + piece;
      part[round] = key_piece(source[round]);
    }
//# else
    for (var i = lane; i < TILE_KEYS * PIECES; i += LANES) {
      let slot = slot_of(min(tile_key + i / PIECES, end - 1u));
      let source = (first_key + slot) * PIECES + i % PIECES;
      let key = key_piece(source);
      key_tile[2u * i] = key[0];
      key_tile[2u * i + 1u] = key[1];
      let value = value_piece(source);
      value_tile[2u * i] = value[0];
      value_tile[2u * i + 1u] = value[1];
    }
    workgroupBarrier();
    for (var inner = 0u; inner < TILE_KEYS; inner += KEYS) {
    let key_index = tile_key + inner;
//# end

    var product = array<vec4f, LANE_ROWS * KEYS>();
    for (var key = 0u; key < KEYS; key++) {  // unroll
      for (var i = 0u; i < VEC4S; i++) {  // unroll
//# if SUBGROUP
        let k = subgroupBroadcast(
          part[(key * PIECES + i / 2u) / LANES][i % 2u],
          (key * PIECES + i / 2u) % LANES,
        );
//# else
        let k = key_tile[(inner + key) * VEC4S + i];
//# end
        for (var r = 0u; r < LANE_ROWS; r++) {  // unroll
          product[r * KEYS + key] += q[r * VEC4S + i] * k;
        }
      }
    }

    // One step of the online softmax.
    var factor: array<f32, LANE_ROWS>;
    var p: array<f32, LANE_ROWS * KEYS>;
    for (var r = 0u; r < LANE_ROWS; r++) {  // unroll
      let bits = visible_bits(head[r], key_index / 32u) >> (key_index % 32u);
      var is_seen: array<bool, KEYS>;
      var score: array<f32, KEYS>;
      var next = largest[r];
      for (var key = 0u; key < KEYS; key++) {  // unroll
        is_seen[key] = key_index + key < end && sees(position[r], key_index + key) &&
          ((bits >> key) & 1u) == 1u;
        score[key] = select(LOWEST, score_of(product[r * KEYS + key]), is_seen[key]);
        next = max(next, score[key]);
      }
      factor[r] = exp2(largest[r] - next);
      largest[r] = next;
      var total = 0.0;
      for (var key = 0u; key < KEYS; key++) {  // unroll
        p[r * KEYS + key] = select(0.0, exp2(score[key] - next), is_seen[key]);
        total += p[r * KEYS + key];
      }
      sum[r] = sum[r] * factor[r] + total;
    }

//# if SUBGROUP
    for (var round = 0u; round < ROUNDS; round++) {  // unroll
      part[round] = value_piece(source[round]);
    }
//# end
    for (var i = 0u; i < VEC4S; i++) {  // unroll
      var v: array<vec4f, KEYS>;
      for (var key = 0u; key < KEYS; key++) {  // unroll
//# if SUBGROUP
        v[key] = subgroupBroadcast(
          part[(key * PIECES + i / 2u) / LANES][i % 2u],
          (key * PIECES + i / 2u) % LANES,
        );
//# else
        v[key] = value_tile[(inner + key) * VEC4S + i];
//# end
      }
      for (var r = 0u; r < LANE_ROWS; r++) {  // unroll
        o[r * VEC4S + i] *= factor[r];
        for (var key = 0u; key < KEYS; key++) {  // unroll
          o[r * VEC4S + i] += p[r * KEYS + key] * v[key];
        }
      }
    }
//# if !SUBGROUP
    }
    workgroupBarrier();  // the next round overwrites the tiles
//# end
  }

  for (var r = 0u; r < LANE_ROWS; r++) {  // unroll
    if (first_row + r * LANES + lane < row_count) {
//# if SPLIT
      let place = ((group.x * params.rows + row[r]) * params.query_heads + head[r]) * (VEC4S + 1u);
      partial[place] = vec4f(largest[r], sum[r], 0.0, 0.0);
      for (var i = 0u; i < VEC4S; i++) {  // unroll
        partial[place + 1u + i] = o[r * VEC4S + i];
      }
//# else
      let place = row[r] * (params.output_stride / 4u) + head[r] * VEC4S;
      for (var i = 0u; i < VEC4S; i++) {  // unroll
        output[place + i] = o[r * VEC4S + i] / sum[r];
      }
      log_sum[head[r] * params.rows + row[r]] = (largest[r] + log2(sum[r])) / LOG2_E;
//# end
    }
  }
}
