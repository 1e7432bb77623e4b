// page_bounds: the least and the largest of each element over the keys of a page
//
// grid    (kv_heads, pages that new keys may belong to, sequences)
// reads   state   u32: first sequence of the step, then the tokens of each sequence before the new ones
//         keys    f16x2[sequences, kv_heads, key_capacity, HEAD_DIM / 2], after RoPE; the bits of
//                 f32[sequences, kv_heads, key_capacity, HEAD_DIM] if HAS_F32_KEYS is 1
// writes  bounds  f16x2[sequences, kv_heads, pages of the capacity, 2, HEAD_DIM / 2]: least, then largest
// twin    page_bounds.ts

override WORKGROUP_SIZE: u32 = 64;  // threads
override HEAD_DIM: u32 = 64;        // elements; even
override HAS_F32_KEYS: u32 = 0;     // whether keys are stored as f32

const NOT_FIXED: u32 = 4294967295u;

struct Params {
  rows_per_sequence: u32,
  kv_heads: u32,
  capacity: u32,
  key_capacity: u32,  // head vectors of a KV head in keys
  key_slot: u32,      // which of them is read; that of the token's position if NOT_FIXED
  page_tokens: u32,
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> keys: array<u32>;
@group(0) @binding(2) var<storage, read_write> bounds: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

// Two elements of a key.
fn pair_of(word: u32) -> vec2f {
  if (HAS_F32_KEYS == 1u) {
    return vec2f(bitcast<f32>(keys[2u * word]), bitcast<f32>(keys[2u * word + 1u]));
  }
  return unpack2x16float(keys[word]);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn page_bounds(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let head_pairs = HEAD_DIM / 2u;
  let sequence = state[0] + group.z;
  let head = sequence * params.kv_heads + group.x;
  let begin = state[1u + sequence];
  let end = min(begin + params.rows_per_sequence, params.capacity);
  let page = begin / params.page_tokens + group.y;
  let pages = (params.capacity + params.page_tokens - 1u) / params.page_tokens;
  let first = max(begin, page * params.page_tokens);
  let last = min(end, (page + 1u) * params.page_tokens);
  if (first >= last) { return; }
  let place = (head * pages + page) * HEAD_DIM;
  for (var pair = lane; pair < head_pairs; pair += WORKGROUP_SIZE) {
    var least = vec2f(65504.0);
    var largest = vec2f(-65504.0);
    if (first % params.page_tokens != 0u) {
      least = unpack2x16float(bounds[place + pair]);
      largest = unpack2x16float(bounds[place + head_pairs + pair]);
    }
    for (var token = first; token < last; token++) {
      let slot = select(params.key_slot, token, params.key_slot == NOT_FIXED);
      let key = pair_of((head * params.key_capacity + slot) * head_pairs + pair);
      least = min(least, key);
      largest = max(largest, key);
    }
    bounds[place + pair] = pack2x16float(least);
    bounds[place + head_pairs + pair] = pack2x16float(largest);
  }
}
