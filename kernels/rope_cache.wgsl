// rope_cache: rotary position embedding of queries and keys, and the write of keys and values to the cache.
//
// grid    (ceil((query_heads + 2 * kv_heads) / heads per workgroup), rows, 1): several heads of one row
// reads   state     u32: first sequence of the step, then the cached tokens of each sequence
//         rotation  f32[capacity, HEAD_DIM]: per position HEAD_DIM / 2 cosines, then as many sines
//         q_norm    f32[HEAD_DIM], weights of the norm of query heads; read if has_norm is 1
//         k_norm    f32[HEAD_DIM], the same of key heads
// writes  qkv       f32[rows, stride]: query heads, key heads, value heads; queries are rotated in place
//         keys      f16x2[sequences, kv_heads, capacity, HEAD_DIM / 2], after rotation
//         values    same shape as keys
// twin    rope_cache.ts

override WORKGROUP_SIZE: u32 = 64;  // threads; at least HEAD_DIM / 4
override HEAD_DIM: u32 = 64;        // elements; a multiple of 4

struct Params {
  rows: u32,
  rows_per_sequence: u32,
  capacity: u32,
  stride: u32,
  query_heads: u32,
  kv_heads: u32,
  has_norm: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> rotation: array<f32>;
@group(0) @binding(2) var<storage, read> q_norm: array<f32>;
@group(0) @binding(3) var<storage, read> k_norm: array<f32>;
@group(0) @binding(4) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(5) var<storage, read_write> keys: array<u32>;
@group(0) @binding(6) var<storage, read_write> values: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> partial: array<f32, WORKGROUP_SIZE>;

// Weights of the norm for elements i, i + 1 and their partners half a head further.
fn norm_weights(is_query: bool, i: u32) -> vec4f {
  let j = i + HEAD_DIM / 2u;
  if (is_query) { return vec4f(q_norm[i], q_norm[i + 1u], q_norm[j], q_norm[j + 1u]); }
  return vec4f(k_norm[i], k_norm[i + 1u], k_norm[j], k_norm[j + 1u]);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn rope_cache(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let quads = HEAD_DIM / 4u;  // threads of a head; each has two elements and their partners
  let group_heads = WORKGROUP_SIZE / quads;
  let own_head = lane / quads;
  let head = group.x * group_heads + own_head;
  let is_active = own_head < group_heads && head < params.query_heads + 2u * params.kv_heads;
  let i = 2u * (lane % quads);
  let j = i + HEAD_DIM / 2u;
  let row = group.y;
  let first = row * params.stride + head * HEAD_DIM;
  var x = vec4f();
  if (is_active) { x = vec4f(qkv[first + i], qkv[first + i + 1u], qkv[first + j], qkv[first + j + 1u]); }

  let is_query = head < params.query_heads;
  let is_value = head >= params.query_heads + params.kv_heads;
  partial[lane] = dot(x, x);
  workgroupBarrier();
  if (is_active && params.has_norm == 1u && !is_value) {
    var squares = 0.0;
    for (var other = 0u; other < quads; other++) { squares += partial[own_head * quads + other]; }
    x *= inverseSqrt(squares / f32(HEAD_DIM) + params.epsilon) * norm_weights(is_query, i);
  }

  let sequence = state[0] + row / params.rows_per_sequence;
  let position = state[1u + sequence] + row % params.rows_per_sequence;
  if (is_active && position < params.capacity) {
    if (!is_value) {
      let angle = position * HEAD_DIM;
      let cosine = vec2f(rotation[angle + i], rotation[angle + i + 1u]);
      let sine = vec2f(rotation[angle + j], rotation[angle + j + 1u]);
      x = vec4f(x.xy * cosine - x.zw * sine, x.zw * cosine + x.xy * sine);
    }
    if (is_query) {
      qkv[first + i] = x.x;
      qkv[first + i + 1u] = x.y;
      qkv[first + j] = x.z;
      qkv[first + j + 1u] = x.w;
    } else {
      let kv_head = (head - params.query_heads) % params.kv_heads;
      let slot = (sequence * params.kv_heads + kv_head) * params.capacity + position;
      let word = slot * (HEAD_DIM / 2u) + i / 2u;
      if (is_value) {
        values[word] = pack2x16float(x.xy);
        values[word + quads] = pack2x16float(x.zw);
      } else {
        keys[word] = pack2x16float(x.xy);
        keys[word + quads] = pack2x16float(x.zw);
      }
    }
  }
}
