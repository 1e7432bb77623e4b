//# if SUMS
// attention_sums: attention that each key receives from the rows of a step, added to earlier sums
//
// grid    (stripes of key blocks, kv_heads, sequences)
//# end
//# if MAP
// attention_map: attention of one query head, row by row
//
// grid    (stripes of key blocks, 1, sequences)
//# end
//# if ROWS
// attention_rows: attention of the newest token of each sequence, for every query head
//
// grid    (stripes of key blocks, kv_heads, sequences)
//# end
// reads   state    u32: first sequence of the step, then the cached tokens of each sequence
//         qkv      f32[rows, stride], query heads first, after RoPE
//         keys     f16x2[sequences, kv_heads, capacity or RING, HEAD_DIM / 2], after RoPE, or the bits of as many f32,
//                  or codes, see quantized_rows.ts
//         log_sum  f32[query_heads, rows], log-sum-exp of each row's scores
//# if MASKS
//         visible  bits[query_heads, visible_words], one per position; read if is_masked is 1
//# end
//# if SUMS
// writes  sums     f32[sequences, query_heads, capacity]
//# end
//# if MAP
// writes  output   f32[map_offset + rows, map_stride], zero after a row's own position
//# end
//# if ROWS
// writes  output   f32[sequences, heads_total, capacity]; after the newest token zero or unchanged
//# end
// twin    attention_columns.ts
//
// A lane keeps its keys in registers; queries are loaded once for all lanes. Scores are computed again, and the
// log-sum-exp that attention stored turns them into attention.

const LANES: u32 = 8;
const LANE_KEYS: u32 = 4;     // keys of a lane
const TILE_ROWS: u32 = 2;     // queries loaded together
const VEC4S: u32 = 16;        // of a head
const PIECES: u32 = 8;        // of eight elements of a head
const QUERY_ROUNDS: u32 = 4;  // vec4s of a tile that a lane loads where lanes broadcast

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
//# if SUMS
  row_decay: f32,  // factor by which each earlier row counts less
  sum_decay: f32,  // factor on the sums of earlier steps: row_decay to the power of the step's rows
//# end
//# if MAP
  head: u32,
  map_stride: u32,
  map_offset: u32,
//# end
//# if ROWS
  head_offset: u32,
  heads_total: u32,
//# end
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
//# if CODED_KEYS
@group(0) @binding(2) var<storage, read> keys: array<u32>;
//# else
@group(0) @binding(2) var<storage, read> keys: array<vec4u>;
//# end
@group(0) @binding(3) var<storage, read> log_sum: array<f32>;
//# if MASKS
@group(0) @binding(4) var<storage, read> visible: array<u32>;
//# end
//# if SUMS
@group(0) @binding(5) var<storage, read_write> sums: array<f32>;
//# end
//# if MAP
@group(0) @binding(5) var<storage, read_write> output: array<f32>;
//# end
//# if ROWS
@group(0) @binding(4) var<storage, read_write> output: array<f32>;
//# end
@group(1) @binding(0) var<uniform> params: Params;
//# if !SUBGROUP

var<workgroup> query_tile: array<vec4f, TILE_ROWS * VEC4S>;
var<workgroup> log_sum_tile: array<f32, TILE_ROWS>;
//# end

@compute @workgroup_size(LANES)
fn attention_columns(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let group_size = params.query_heads / params.kv_heads;
//# if MAP
  let kv_head = params.head / group_size;
  let first_head = params.head;
  let end_head = first_head + 1u;
//# else
  let kv_head = group.y;
  let first_head = kv_head * group_size;
  let end_head = first_head + group_size;
//# end
  let sequence = state[0] + group.z;
  let start = state[1u + sequence];
  let first_key = (sequence * params.kv_heads + kv_head) * head_slots();
  let first_row = group.z * params.rows_per_sequence;
  let last_token = params.rows_per_sequence - 1u;
  let seen = min(start + params.rows_per_sequence, params.capacity);
//# if MAP
  let columns = params.map_stride;
//# else
  let columns = seen;
//# end

  let block_keys = LANES * LANE_KEYS;
  for (var block = group.x * block_keys; block < columns; block += groups.x * block_keys) {
    var key = array<u32, LANE_KEYS>();
    var k = array<vec4f, LANE_KEYS * VEC4S>();
    for (var column = 0u; column < LANE_KEYS; column++) {  // unroll
      key[column] = block + column * LANES + lane;
      let source = (first_key + slot_of(min(key[column], seen - 1u))) * PIECES;
      for (var piece = 0u; piece < PIECES; piece++) {  // unroll
        let eight = key_piece(source + piece);
        k[column * VEC4S + 2u * piece] = eight[0] * score_factor();
        k[column * VEC4S + 2u * piece + 1u] = eight[1] * score_factor();
      }
    }
    for (var head = first_head; head < end_head; head++) {
//# if MASKS
      var is_visible = array<bool, LANE_KEYS>();
      for (var column = 0u; column < LANE_KEYS; column++) {  // unroll
        let bits = visible_bits(head, key[column] / 32u) >> (key[column] % 32u);
        is_visible[column] = (bits & 1u) == 1u;
      }
//# end
//# if SUMS
      var total = array<f32, LANE_KEYS>();
      let first_token = select(0u, block - start, block > start);
//# else
      let first_token = 0u;
//# end
//# if ROWS
      let token = first_token;
      {
//# else
      for (var token = first_token; token <= last_token; token += TILE_ROWS) {
//# end
//# if SUBGROUP
        let tile_row = first_row + min(token + lane % TILE_ROWS, last_token);
        let source = tile_row * (params.stride / 4u) + head * VEC4S;
        var part = array<vec4f, QUERY_ROUNDS>();
        for (var round = 0u; round < QUERY_ROUNDS; round++) {  // unroll
          part[round] = qkv[source + min(lane / TILE_ROWS * QUERY_ROUNDS + round, VEC4S - 1u)];
        }
        let log_sums = LOG2_E *
          log_sum[head * params.rows + first_row + min(token + lane, last_token)];
//# else
        for (var i = lane; i < TILE_ROWS * VEC4S; i += LANES) {
          let tile_row = first_row + min(token + i / VEC4S, last_token);
          query_tile[i] = qkv[tile_row * (params.stride / 4u) + head * VEC4S + i % VEC4S];
        }
        if (lane < TILE_ROWS) {
          log_sum_tile[lane] = LOG2_E *
            log_sum[head * params.rows + first_row + min(token + lane, last_token)];
        }
        workgroupBarrier();
//# end
        var product = array<vec4f, TILE_ROWS * LANE_KEYS>();
        for (var row = 0u; row < TILE_ROWS; row++) {  // unroll
          for (var i = 0u; i < VEC4S; i++) {  // unroll
//# if SUBGROUP
            let q = subgroupBroadcast(part[i % QUERY_ROUNDS], row + TILE_ROWS * (i / QUERY_ROUNDS));
//# else
            let q = query_tile[row * VEC4S + i];
//# end
            for (var column = 0u; column < LANE_KEYS; column++) {  // unroll
              product[row * LANE_KEYS + column] += q * k[column * VEC4S + i];
            }
          }
        }
        for (var row = 0u; row < TILE_ROWS; row++) {  // unroll
//# if SUBGROUP
          let row_log_sum = subgroupBroadcast(log_sums, row);
//# else
          let row_log_sum = log_sum_tile[row];
//# end
          for (var column = 0u; column < LANE_KEYS; column++) {  // unroll
            let attention = select(
              0.0,
              exp2(score_of(product[row * LANE_KEYS + column]) - row_log_sum),
              sees(start + token + row, key[column]),
            );
//# if SUMS
            // Later rows weigh more, the last one 1.
            if (token + row <= last_token) {
              total[column] = total[column] * params.row_decay + attention;
            }
//# end
//# if MAP
            if (token + row <= last_token && key[column] < params.map_stride) {
              let place = (params.map_offset + first_row + token + row) * params.map_stride;
              output[place + key[column]] = select(0.0, attention, is_visible[column]);
            }
//# end
//# if ROWS
            if (key[column] < params.capacity) {
              let place = sequence * params.heads_total + params.head_offset + head;
              output[place * params.capacity + key[column]] = attention;
            }
//# end
          }
        }
//# if !SUBGROUP
        workgroupBarrier();  // the next round overwrites the tile
//# end
      }
//# if SUMS
      for (var column = 0u; column < LANE_KEYS; column++) {  // unroll
        if (key[column] < seen) {
          let place = (sequence * params.query_heads + head) * params.capacity + key[column];
          sums[place] = sums[place] * params.sum_decay + select(0.0, total[column], is_visible[column]);
        }
      }
//# end
    }
  }
}
