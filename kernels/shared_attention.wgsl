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
//         keys     f16x2[sequences, kv_heads, capacity or RING, HEAD_DIM / 2], after RoPE, or the bits of as many f32
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
// The same as flash_attention.wgsl for GPUs: rows are numbered as there, so that a workgroup has all query heads of a KV
// head and reads its keys and values once; shared_rows.wgsl says what a lane does.

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
@group(0) @binding(2) var<storage, read> keys: array<vec4u>;
//# if F32_VALUES
@group(0) @binding(3) var<storage, read> values: array<vec4u>;
//# else
@group(0) @binding(3) var<storage, read> values: array<vec2u>;
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

@compute @workgroup_size(LANES)
fn shared_attention(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let group_size = params.query_heads / params.kv_heads;
  let row_count = params.rows_per_sequence * group_size;
//# if SPLIT
  let kv_head = group.y % params.kv_heads;
  let first_row = group.y / params.kv_heads * ROWS;
  let is_first = group.x == 0u;
//# else
  let kv_head = group.y;
  let first_row = group.x * ROWS;
  let is_first = true;
//# end
  let last_row = min(first_row + ROWS, row_count) - 1u;
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

  for (var i = lane; i < ROWS * VEC4S; i += LANES) {
    let u = min(first_row + i / VEC4S, row_count - 1u);
    let row = group.z * params.rows_per_sequence + u / group_size;
    let query = row * (params.stride / 4u) + (kv_head * group_size + u % group_size) * VEC4S;
    query_tile[i % VEC4S * ROWS + i / VEC4S] = qkv[query + i % VEC4S] * score_factor();
  }

  // To multiply.
  let own_key = lane % TILE_KEYS;
  let own_part = lane / TILE_KEYS * PART_ROWS;

  // For the softmax.
  let own_row = lane % ROWS;
  let slice = lane / ROWS;
  let own_u = min(first_row + own_row, row_count - 1u);
  let own_head = kv_head * group_size + own_u % group_size;
  let position = start + own_u / group_size;
  let softmax = softmax_start(own_head, is_first);
  var largest = softmax.x;
  var sum = select(0.0, softmax.y, slice == 0u);  // of the lane's keys

  // To sum values up.
  let quad = lane % VEC4S;
  let row_part = lane / VEC4S % ROW_PARTS;
  let key_part = lane / (VEC4S * ROW_PARTS);
  var o = array<vec4f, PART_ROWS>();
  workgroupBarrier();

  for (var tile_key = begin; tile_key < end; tile_key += TILE_KEYS) {
    let key_slot = slot_of(min(tile_key + own_key, end - 1u));
    let product = multiply_rows((first_key + key_slot) * PIECES, own_part);
    keep_scores(own_part, own_key, product);
    workgroupBarrier();

    // One step of the online softmax.
    var next = largest;
    for (var i = slice; i < TILE_KEYS; i += SLICES) {
      let key = tile_key + i;
      let bits = visible_bits(own_head, key / 32u) >> (key % 32u);
      let is_seen = key < end && sees(position, key) && (bits & 1u) == 1u;
      let place = score_place(own_row, i);
      let score = score_of(vec4f(score_tile[place][own_row % 4u], 0.0, 0.0, 0.0));
      let seen = select(LOWEST, score, is_seen);
      score_tile[place][own_row % 4u] = seen;
      next = max(next, seen);
    }
    next = row_max(lane, next);
    let factor = exp2(largest - next);
    largest = next;
    sum *= factor;
    for (var i = slice; i < TILE_KEYS; i += SLICES) {
      let place = score_place(own_row, i);
      let score = score_tile[place][own_row % 4u];
      let p = select(exp2(score - next), 0.0, score == LOWEST);
      score_tile[place][own_row % 4u] = p;
      sum += p;
    }
    if (slice == 0u) { row_tile[own_row].x = factor; }
    workgroupBarrier();

    if (key_part < KEY_PARTS) {
      for (var r = 0u; r < PART_ROWS; r++) {  // unroll
        o[r] *= row_tile[row_part * PART_ROWS + r].x;
      }
      let last = min(TILE_KEYS, end - tile_key);
      for (var first = key_part; first < last; first += KEY_PARTS * KEY_STEPS) {
        var v = array<vec4f, KEY_STEPS>();
        for (var step = 0u; step < KEY_STEPS; step++) {  // unroll
          let slot = slot_of(tile_key + min(first + step * KEY_PARTS, last - 1u));
          v[step] = value_quad((first_key + slot) * VEC4S + quad);
        }
        for (var step = 0u; step < KEY_STEPS; step++) {  // unroll
          if (first + step * KEY_PARTS < last) {
            let place = score_place(row_part * PART_ROWS, first + step * KEY_PARTS);
            let p = array<vec4f, 2>(score_tile[place], score_tile[place + TILE_KEYS]);
            for (var r = 0u; r < PART_ROWS; r++) {  // unroll
              o[r] += p[r / 4u][r % 4u] * v[step];
            }
          }
        }
      }
    }
    workgroupBarrier();  // the next round overwrites the scores
  }

  sum = row_sum(lane, sum);
  if (slice == 0u) { row_tile[own_row] = vec4f(largest, sum, 0.0, 0.0); }
  // A loop at run time: barriers of rounds that are written out would take most of the time to compile the kernel.
  for (var r = 0u; r < min(PART_ROWS, row_count - first_row); r++) {
    var own = vec4f();
    for (var i = 0u; i < PART_ROWS; i++) {  // unroll
      own = select(own, o[i], r == i);
    }
    let total = part_sum(lane, own);
    let u = first_row + row_part * PART_ROWS + r;
    if (key_part == 0u && u < row_count) {
      let head = kv_head * group_size + u % group_size;
      let row = group.z * params.rows_per_sequence + u / group_size;
      let softmax = row_tile[row_part * PART_ROWS + r];
//# if SPLIT
      let place = ((group.x * params.rows + row) * params.query_heads + head) * (VEC4S + 1u);
      partial[place + 1u + quad] = total;
      if (quad == 0u) { partial[place] = softmax; }
//# else
      output[row * (params.output_stride / 4u) + head * VEC4S + quad] = total / softmax.y;
      if (quad == 0u) {
        log_sum[head * params.rows + row] = (softmax.x + log2(softmax.y)) / LOG2_E;
      }
//# end
    }
  }
}
