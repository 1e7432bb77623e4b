// softmax_sums: attention that each key receives from the rows of a step, which takes no log-sum-exp from elsewhere
//
// grid    (blocks of BLOCK_ROWS rows, query_heads, 1)
// reads   state  u32: sequence of the step, then the cached tokens of each sequence
//         qkv    f32[rows, stride], query heads first, after RoPE
//         keys   f16x2[sequences, kv_heads, capacity, HEAD_DIM / 2], after RoPE, or the bits of as many f32,
//                or codes, see quantized_rows.ts
//# if SINKS
//         sinks  f32[query_heads], logit of each head's sink
//# end
// writes  sums   f32[blocks, query_heads, capacity], added to; rows past the capacity are left out
// twin    softmax_sums.ts
//
// A lane takes every LANES-th key. It goes through them twice: for the softmax, and for the sums.

const LANES: u32 = 32;
const BLOCK_ROWS: u32 = 32;  // rows that a workgroup sums
const TILE_ROWS: u32 = 4;    // rows whose queries are loaded together
const VEC4S: u32 = 16;       // of a head
const PIECES: u32 = 8;       // of eight elements of a head
const STEP: u32 = 4;         // pieces of a turn, a divisor of PIECES

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
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
//# if CODED_KEYS
@group(0) @binding(2) var<storage, read> keys: array<u32>;
//# else
@group(0) @binding(2) var<storage, read> keys: array<vec4u>;
//# end
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;
//# if SINKS
@group(0) @binding(4) var<storage, read> sinks: array<f32>;
//# end
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> query_tile: array<vec4f, TILE_ROWS * VEC4S>;
// Of each lane's keys, for the rows of a tile.
var<workgroup> largest_scores: array<vec4f, LANES>;
var<workgroup> exponentials: array<vec4f, LANES>;

// Scores of the tile's rows with a key, in base 2.
fn tile_scores(source: u32) -> vec4f {
  var product = array<vec4f, TILE_ROWS>();
  for (var first = 0u; first < PIECES; first += STEP) {
    for (var next = 0u; next < STEP; next++) {  // unroll
      let piece = first + next;
      let eight = key_piece(source + piece);
      for (var row = 0u; row < TILE_ROWS; row++) {  // unroll
        product[row] += query_tile[row * VEC4S + 2u * piece] * eight[0];
        product[row] += query_tile[row * VEC4S + 2u * piece + 1u] * eight[1];
      }
    }
  }
  return vec4f(
    score_of(product[0]),
    score_of(product[1]),
    score_of(product[2]),
    score_of(product[3]),
  );
}

// Which of four rows from a position on see a key and come before an end.
fn tile_sees(position: u32, end: u32, key: u32) -> vec4<bool> {
  return vec4<bool>(
    position < end && sees(position, key),
    position + 1u < end && sees(position + 1u, key),
    position + 2u < end && sees(position + 2u, key),
    position + 3u < end && sees(position + 3u, key),
  );
}

@compute @workgroup_size(LANES)
fn softmax_sums(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let head = group.y;
  let sequence = state[0];
  let start = state[1u + sequence];
  let kv_head = head / (params.query_heads / params.kv_heads);
  let first_key = (sequence * params.kv_heads + kv_head) * params.capacity;
  let place = (group.x * params.query_heads + head) * params.capacity;
  let first_row = group.x * BLOCK_ROWS;
  let end = min(start + min(first_row + BLOCK_ROWS, params.rows), params.capacity);

  for (var position = start + first_row; position < end; position += TILE_ROWS) {
    workgroupBarrier();  // the round before has used the tile
    for (var i = lane; i < TILE_ROWS * VEC4S; i += LANES) {
      let row = min(position + i / VEC4S, end - 1u) - start;
      query_tile[i] = qkv[row * (params.stride / 4u) + head * VEC4S + i % VEC4S] * score_factor();
    }
    workgroupBarrier();
    let seen = min(position + TILE_ROWS, end);
    var largest = vec4f(LOWEST);
    var total = vec4f();
    for (var key = lane; key < seen; key += LANES) {
      let is_seen = tile_sees(position, end, key);
      let score = select(vec4f(LOWEST), tile_scores((first_key + key) * PIECES), is_seen);
      let before = largest;
      largest = max(before, score);
      total = total * exp2(before - largest) + select(vec4f(), exp2(score - largest), is_seen);
    }
    largest_scores[lane] = largest;
    exponentials[lane] = total;
    workgroupBarrier();
//# if SINKS
    largest = vec4f(sinks[head] * LOG2_E);
    total = vec4f(1.0);
//# else
    largest = vec4f(LOWEST);
    total = vec4f();
//# end
    for (var other = 0u; other < LANES; other++) {
      let before = largest;
      largest = max(before, largest_scores[other]);
      total = total * exp2(before - largest) +
        exponentials[other] * exp2(largest_scores[other] - largest);
    }
    let log_sum = largest + log2(total);
    for (var key = lane; key < seen; key += LANES) {
      let score = tile_scores((first_key + key) * PIECES);
      let attention = select(vec4f(), exp2(score - log_sum), tile_sees(position, end, key));
      sums[place + key] += (attention.x + attention.y) + (attention.z + attention.w);
    }
  }
}
