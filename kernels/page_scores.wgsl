// page_scores: what the keys of a page can score at most, as the score of each of its tokens
//
// grid    (groups of pages, query_heads, sequences)
// reads   state   u32: first sequence of the step, then the tokens of each sequence before the newest one
//         qkv     f32[sequences of the step, stride], query heads first, after RoPE
//         bounds  f16x2[sequences, kv_heads, pages of the capacity, 2, HEAD_DIM / 2]: least, then largest elements
// writes  rows    f32[sequences, query_heads, capacity]: scores in base 2, up to the newest token and to the next multiple
//                 of 4; the lowest number for tokens that are not seen
// twin    page_scores.ts

override WORKGROUP_SIZE: u32 = 64;  // threads, each with one page
override HEAD_DIM: u32 = 64;        // elements; even

const LOG2_E = 1.4426950408889634;
const LOWEST = -3.4e38;

struct Params {
  stride: u32,
  query_heads: u32,
  kv_heads: u32,
  capacity: u32,  // a multiple of 4
  page_tokens: u32,  // a multiple of 4
  window: u32,    // newest tokens that are seen; all if 0
  softcap: f32,   // none if 0
  scale: f32,     // factor on products
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> qkv: array<vec2f>;
@group(0) @binding(2) var<storage, read> bounds: array<u32>;
@group(0) @binding(3) var<storage, read_write> rows: array<vec4f>;
@group(1) @binding(0) var<uniform> params: Params;

fn capped(score: f32) -> f32 {
  if (params.softcap == 0.0) { return score; }
  let tangent = 1.0 - 2.0 / (exp2(2.0 * LOG2_E * score) + 1.0);  // tanh, safe for large numbers
  return params.softcap * LOG2_E * tangent;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn page_scores(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let head_pairs = HEAD_DIM / 2u;
  let sequence = state[0] + group.z;
  let position = state[1u + sequence];
  let kv_head = sequence * params.kv_heads + group.y * params.kv_heads / params.query_heads;
  let page = group.x * WORKGROUP_SIZE + lane;
  let pages = (params.capacity + params.page_tokens - 1u) / params.page_tokens;
  if (page * params.page_tokens > position) { return; }
  let place = (kv_head * pages + page) * HEAD_DIM;
  let query = group.z * (params.stride / 2u) + group.y * head_pairs;
  var sum = vec2f();
  for (var pair = 0u; pair < head_pairs; pair++) {
    let q = qkv[query + pair];
    let least = unpack2x16float(bounds[place + pair]);
    let largest = unpack2x16float(bounds[place + head_pairs + pair]);
    sum += max(q * least, q * largest);
  }
  let score = capped((sum.x + sum.y) * params.scale);
  let row = (sequence * params.query_heads + group.y) * (params.capacity / 4u);
  let first = page * params.page_tokens;
  let last = min(min(first + params.page_tokens, params.capacity), (position + 4u) / 4u * 4u);
  for (var token = first; token < last; token += 4u) {
    let tokens = vec4u(token) + vec4u(0u, 1u, 2u, 3u);
    var is_seen = tokens <= vec4u(position);
    if (params.window > 0u) {
      is_seen = is_seen & (vec4u(position) - tokens < vec4u(params.window));
    }
    rows[row + token / 4u] = select(vec4f(LOWEST), vec4f(score), is_seen);
  }
}
