// key_means: the mean of the first keys of each KV head of a sequence
//
// grid    (groups of pairs of elements, kv_heads, 1)
// reads   state  u32: the sequence
//         keys   f16x2[sequences, kv_heads, capacity, HEAD_DIM / 2], after RoPE; the bits of
//                f32[sequences, kv_heads, capacity, HEAD_DIM] if HAS_F32_KEYS is 1
// writes  means  f32[sequences, kv_heads, HEAD_DIM], those of the sequence
// twin    key_means.ts

override WORKGROUP_SIZE: u32 = 64;  // threads
override HEAD_DIM: u32 = 64;        // elements; even
override HAS_F32_KEYS: u32 = 0;     // whether keys are stored as f32

struct Params {
  kv_heads: u32,
  capacity: u32,
  tokens: u32,  // whose keys are averaged; at least 1
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> keys: array<u32>;
@group(0) @binding(2) var<storage, read_write> means: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn key_means(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let head_pairs = HEAD_DIM / 2u;
  let pair = group.x * WORKGROUP_SIZE + lane;
  if (pair >= head_pairs) { return; }
  let head = state[0] * params.kv_heads + group.y;
  var sum = vec2f();
  for (var token = 0u; token < params.tokens; token++) {
    let word = (head * params.capacity + token) * head_pairs + pair;
    if (HAS_F32_KEYS == 1u) {
      sum += vec2f(bitcast<f32>(keys[2u * word]), bitcast<f32>(keys[2u * word + 1u]));
    } else {
      sum += unpack2x16float(keys[word]);
    }
  }
  let mean = sum / f32(params.tokens);
  means[head * HEAD_DIM + 2u * pair] = mean.x;
  means[head * HEAD_DIM + 2u * pair + 1u] = mean.y;
}
