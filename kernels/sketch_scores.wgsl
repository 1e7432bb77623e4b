// sketch_scores: scores of all tokens by the sketches of their keys
//
// grid    (groups of LANES * TILES blocks of four tokens, query_heads / HEADS, sequences)
// reads   state    u32: first sequence of the step, then the tokens of each sequence before the newest one
//         codes    u32[sequences, kv_heads, capacity / 4, WORDS, 4], see key_sketch.ts
//         scales   f16x2[sequences, kv_heads, capacity / 2]
//         queries  f32[sequences, query_heads, VEC4S * 4], whole numbers
//         factors  f32[sequences, query_heads, 2]: factor on products, and what is added to them
//         levels   f32[1 << BITS], ascending
// writes  rows     f32[sequences, query_heads, capacity]: scores in base 2, up to the newest token and to the next multiple
//                  of 4; the lowest number for tokens that are not seen
// twin    sketch_scores.ts

const LANES: u32 = 8;
const BITS: u32 = 2;
const HEADS: u32 = 6;   // query heads that share keys, or a part of them
const WORDS: u32 = 8;   // of a token's codes
const FIELDS: u32 = 4;  // codes in a byte
const VEC4S: u32 = 32;  // of a query
const TILES: u32 = 4;   // blocks of four tokens that a lane takes, one after the other
const ROUNDS: u32 = 3;  // vectors of the queries of a word that a lane loads where lanes broadcast
const LOG2_E = 1.4426950408889634;
const LOWEST = -3.4e38;

struct Params {
  query_heads: u32,
  kv_heads: u32,
  capacity: u32,  // a multiple of 4
  window: u32,    // newest tokens that are seen; all if 0
  softcap: f32,   // none if 0
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> codes: array<vec4u>;
@group(0) @binding(2) var<storage, read> scales: array<vec2u>;
@group(0) @binding(3) var<storage, read> queries: array<vec4f>;
@group(0) @binding(4) var<storage, read> factors: array<vec2f>;
@group(0) @binding(5) var<storage, read> levels: array<f32>;
@group(0) @binding(6) var<storage, read_write> rows: array<vec4f>;
@group(1) @binding(0) var<uniform> params: Params;

//# if !SUBGROUP
var<workgroup> query: array<vec4f, HEADS * VEC4S>;
//# end
//# if TABLE
var<workgroup> table: array<f32, 16>;
//# end

// Levels of the codes in the lowest bits of each byte.
fn levels_of(word: u32) -> vec4f {
  let code = (vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u((1u << BITS) - 1u);
//# if TABLE
  return vec4f(table[code.x], table[code.y], table[code.z], table[code.w]);
//# else
  // Signed numbers become floats in one instruction.
//# if TWO
  // The cubic through 36 and 120, which saves a table.
  let x = vec4f(vec4i(code)) - 1.5;
  return x * (71.0 + 4.0 * x * x);
//# else
  return 2.0 * vec4f(vec4i(code)) - 1.0;
//# end
//# end
}

fn capped(scores: vec4f) -> vec4f {
  if (params.softcap == 0.0) { return scores; }
  let tangent = 1.0 - 2.0 / (exp2(2.0 * LOG2_E * scores) + 1.0);  // tanh, safe for large numbers
  return params.softcap * LOG2_E * tangent;
}

@compute @workgroup_size(LANES)
fn sketch_scores(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let sequence = state[0] + group.z;
  let position = state[1u + sequence];
  let first_head = sequence * params.query_heads + group.y * HEADS;
  let kv_head = sequence * params.kv_heads + group.y * HEADS * params.kv_heads / params.query_heads;
  let blocks = params.capacity / 4u;
//# if TABLE
  for (var i = lane; i < 16u; i += LANES) { table[i] = levels[i]; }
//# end
//# if !SUBGROUP
  for (var i = lane; i < HEADS * VEC4S; i += LANES) { query[i] = queries[first_head * VEC4S + i]; }
//# end
  workgroupBarrier();
  for (var tile = 0u; tile < TILES; tile++) {
    let first_block = (group.x * TILES + tile) * LANES;
    if (first_block < blocks && 4u * first_block <= position) {
      // All lanes take part in broadcasts; what those past the end compute is not written.
      let block = min(first_block + lane, blocks - 1u);
      var sum = array<vec4f, HEADS>();  // of the four tokens
      for (var word = 0u; word < WORDS; word++) {
        let code = codes[(kv_head * blocks + block) * WORDS + word];
//# if SUBGROUP
        var part = array<vec4f, ROUNDS>();
        for (var round = 0u; round < ROUNDS; round++) {  // unroll
          let piece = min(lane + round * LANES, HEADS * FIELDS - 1u);
          part[round] =
            queries[(first_head + piece / FIELDS) * VEC4S + piece % FIELDS * WORDS + word];
        }
//# end
        for (var field = 0u; field < FIELDS; field++) {  // unroll
          let a = levels_of(code.x >> (BITS * field));
          let b = levels_of(code.y >> (BITS * field));
          let c = levels_of(code.z >> (BITS * field));
          let d = levels_of(code.w >> (BITS * field));
          for (var head = 0u; head < HEADS; head++) {  // unroll
//# if SUBGROUP
            let q = subgroupBroadcast(
              part[(head * FIELDS + field) / LANES],
              (head * FIELDS + field) % LANES,
            );
//# else
            let q = query[head * VEC4S + field * WORDS + word];
//# end
            sum[head] += vec4f(dot(a, q), dot(b, q), dot(c, q), dot(d, q));
          }
        }
      }
      let halves = scales[kv_head * blocks + block];
      let scale = vec4f(unpack2x16float(halves.x), unpack2x16float(halves.y));
      let token = vec4u(4u * block) + vec4u(0u, 1u, 2u, 3u);
      var is_seen = token <= vec4u(position);
      if (params.window > 0u) {
        is_seen = is_seen & (vec4u(position) - token < vec4u(params.window));
      }
      for (var head = 0u; head < HEADS; head++) {  // unroll
        let factor = factors[first_head + head];
        let score = capped(sum[head] * scale * factor.x + factor.y);
        if (first_block + lane < blocks && 4u * block <= position) {
          rows[(first_head + head) * blocks + block] = select(vec4f(LOWEST), score, is_seen);
        }
      }
    }
  }
}
