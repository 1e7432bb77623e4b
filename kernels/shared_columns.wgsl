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
//# if ROWS_KEPT
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
//# if ROWS_KEPT
// writes  output   f32[sequences, heads_total, capacity]; after the newest token zero or unchanged
//# end
// twin    attention_columns.ts
//
// The same as attention_columns.wgsl for GPUs: a lane has one key, which it reads once for every eight rows. These are
// tokens of one query head, or where a sequence has one new token, the query heads of its KV head.

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
//# if ROWS_KEPT
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
//# if ROWS_KEPT
@group(0) @binding(4) var<storage, read_write> output: array<f32>;
//# end
@group(1) @binding(0) var<uniform> params: Params;

const ONE_TOKEN: u32 = 0;  // whether the rows of a tile are query heads of one token

var<workgroup> log_sum_tile: array<f32, ROWS>;

@compute @workgroup_size(LANES)
fn shared_columns(
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
  let tokens = params.rows_per_sequence;
  let seen = min(start + tokens, params.capacity);
//# if MAP
  let columns = params.map_stride;
//# else
  let columns = seen;
//# end

  for (var block = group.x * LANES; block < columns; block += groups.x * LANES) {
    let key = block + lane;
    let source = (first_key + slot_of(min(key, seen - 1u))) * PIECES;
//# if ONE_TOKEN
    for (var tile_head = first_head; tile_head < end_head; tile_head += ROWS) {
      let token = 0u;
//# else
    for (var tile_head = first_head; tile_head < end_head; tile_head++) {
//# if SUMS
      var total = 0.0;
      let first_token = select(0u, block - start, block > start);
//# else
      let first_token = 0u;
//# end
      for (var token = first_token; token < tokens; token += ROWS) {
//# end
      for (var i = lane; i < ROWS * VEC4S; i += LANES) {
        let place = tile_place(i / VEC4S, vec2u(tile_head, end_head), vec2u(token, tokens));
        let query = (first_row + place.y) * (params.stride / 4u) + place.x * VEC4S;
        query_tile[i % VEC4S * ROWS + i / VEC4S] = qkv[query + i % VEC4S] * score_factor();
      }
      if (lane < ROWS) {
        let place = tile_place(lane, vec2u(tile_head, end_head), vec2u(token, tokens));
        log_sum_tile[lane] = LOG2_E * log_sum[place.x * params.rows + first_row + place.y];
      }
      workgroupBarrier();
      let product = multiply_rows(source, 0u);
      for (var r = 0u; r < PART_ROWS; r++) {  // unroll
        let place = tile_place(r, vec2u(tile_head, end_head), vec2u(token, tokens));
        let score = score_of(vec4f(product[r], 0.0, 0.0, 0.0));
        let is_seen = sees(start + place.y, key);
        let attention = select(0.0, exp2(score - log_sum_tile[r]), is_seen);
//# if ONE_TOKEN
        let is_row = tile_head + r < end_head;
//# else
        let is_row = token + r < tokens;
//# end
        if (is_row) {
//# if MASKS
          let is_visible = ((visible_bits(place.x, key / 32u) >> (key % 32u)) & 1u) == 1u;
//# end
//# if SUMS
//# if ONE_TOKEN
          if (key < seen) {
            let slot = (sequence * params.query_heads + place.x) * params.capacity + key;
            sums[slot] = sums[slot] * params.sum_decay + select(0.0, attention, is_visible);
          }
//# else
          total = total * params.row_decay + attention;  // later rows weigh more, the last one 1
//# end
//# end
//# if MAP
          if (key < params.map_stride) {
            let map_row = params.map_offset + first_row + place.y;
            output[map_row * params.map_stride + key] = select(0.0, attention, is_visible);
          }
//# end
//# if ROWS_KEPT
          if (key < params.capacity) {
            let slot = sequence * params.heads_total + params.head_offset + place.x;
            output[slot * params.capacity + key] = attention;
          }
//# end
        }
      }
      workgroupBarrier();  // the next round overwrites the tile
//# if !ONE_TOKEN
      }
//# if SUMS
      if (key < seen) {
        let bits = visible_bits(tile_head, key / 32u) >> (key % 32u);
        let slot = (sequence * params.query_heads + tile_head) * params.capacity + key;
        sums[slot] = sums[slot] * params.sum_decay + select(0.0, total, (bits & 1u) == 1u);
      }
//# end
//# end
    }
  }
}

// Query head and token of a row of the tile; those of the last one for rows after it.
fn tile_place(row: u32, heads: vec2u, tokens: vec2u) -> vec2u {
//# if ONE_TOKEN
  return vec2u(min(heads.x + row, heads.y - 1u), tokens.x);
//# else
  return vec2u(heads.x, min(tokens.x + row, tokens.y - 1u));
//# end
}
