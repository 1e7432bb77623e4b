// rope_cache: rotates queries and keys by position, and writes keys and values to the cache.
//
// grid    (ceil(heads / heads of a workgroup), rows, 1)
// reads   state     u32: first sequence of the step, then the cached tokens of each sequence
//         rotation  f32[positions, HEAD_DIM]: per position HEAD_DIM / 2 cosines, then as many sines; queries read
//                   the rows from query_rotation on, where the two are multiplied by the scale of a query
//         q_norm    f32[HEAD_DIM], weights of the norm of query heads; read if has_norm is 1
//         k_norm    f32[HEAD_DIM], the same for key heads
//         center    f32[kv_heads, HEAD_DIM], subtracted from rotated keys; read if has_center is 1
// writes  qkv       f32[rows, stride]: query, key and value heads; queries are rotated in place
//         keys      head vectors [sequences, kv_heads, write_capacity], after rotation: f16x2[HEAD_DIM / 2],
//                   f32[HEAD_DIM] if KEY_BITS is 32, or codes, see quantized_rows.ts, if it is 8 or 4
//         values    the same by VALUE_BITS
// twin    rope_cache.ts

override WORKGROUP_SIZE: u32 = 64;  // threads; at least HEAD_DIM / 4
override HEAD_DIM: u32 = 64;        // elements; a multiple of 4
override KEY_BITS: u32 = 16;        // of a stored element: 32, 16, or with HEAD_DIM a multiple of 8 also 8 or 4
override VALUE_BITS: u32 = 16;
override TILE: u32 = 1;             // elements of the workgroup's heads, 4 * WORKGROUP_SIZE, where bits are 8 or 4

const NOT_FIXED: u32 = 4294967295u;

struct Params {
  rows: u32,
  rows_per_sequence: u32,
  capacity: u32,
  stride: u32,
  query_heads: u32,
  kv_heads: u32,
  has_norm: u32,
  epsilon: f32,
  write_capacity: u32,  // head vectors of a KV head in keys and values
  write_slot: u32,      // which of them is written; the token's position modulo write_capacity if NOT_FIXED
  first_head: u32,      // heads of a row before it are left alone
  heads: u32,           // how many are processed
  query_rotation: u32,  // row of rotation for a query at position 0; 0 where queries turn as keys do
  has_center: u32,
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> rotation: array<vec2f>;
@group(0) @binding(2) var<storage, read> q_norm: array<vec2f>;
@group(0) @binding(3) var<storage, read> k_norm: array<vec2f>;
@group(0) @binding(4) var<storage, read> center: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> qkv: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> keys: array<u32>;
@group(0) @binding(7) var<storage, read_write> values: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> partial: array<f32, WORKGROUP_SIZE>;
var<workgroup> heads: array<f32, TILE>;  // what is rounded

// Weights of the norm for pair i of elements and for the pair half a head later.
fn norm_weights(is_query: bool, i: u32) -> vec4f {
  if (is_query) { return vec4f(q_norm[i], q_norm[i + HEAD_DIM / 4u]); }
  return vec4f(k_norm[i], k_norm[i + HEAD_DIM / 4u]);
}

// The step and the least number of a group of a head, as halves.
fn group_of(first: u32, count: u32, most: f32) -> u32 {
  var low = heads[first];
  var high = low;
  for (var i = 1u; i < count; i++) {
    low = min(low, heads[first + i]);
    high = max(high, heads[first + i]);
  }
  let least = unpack2x16float(pack2x16float(vec2f(0.0, low))).y;
  return pack2x16float(vec2f((high - least) / most, low));
}

// Codes of four elements, one in each byte.
fn codes_of(first: u32, least: f32, factor: f32, most: f32) -> u32 {
  let x = vec4f(heads[first], heads[first + 1u], heads[first + 2u], heads[first + 3u]);
  let code = vec4u(clamp(floor((x - least) * factor + 0.5), vec4f(), vec4f(most)));
  return code.x | (code.y << 8u) | (code.z << 16u) | (code.w << 24u);
}

struct Piece {
  group: u32,
  words: vec2u,  // of codes; the first alone where they have 4 bits
}

// Rounds eight elements of a head, which is whole in the workgroup's memory from `head` on.
fn piece_of(head: u32, piece: u32, bits: u32) -> Piece {
  let first = piece / 4u * 32u;
  let most = f32((1u << bits) - 1u);
  let group = group_of(head + first, min(32u, HEAD_DIM - first), most);
  let affine = unpack2x16float(group);
  let factor = select(0.0, 1.0 / affine.x, affine.x > 0.0);
  let near = codes_of(head + 8u * piece, affine.y, factor, most);
  let far = codes_of(head + 8u * piece + 4u, affine.y, factor, most);
  if (bits == 4u) { return Piece(group, vec2u(near | (far << 4u), 0u)); }
  return Piece(group, vec2u(near, far));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn rope_cache(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let head_pairs = HEAD_DIM / 2u;
  let head_lanes = HEAD_DIM / 4u;  // threads of a head; each has two pairs, half a head apart
  let group_heads = WORKGROUP_SIZE / head_lanes;
  let own_head = lane / head_lanes;
  let index = group.x * group_heads + own_head;
  let head = params.first_head + index;
  let is_active = own_head < group_heads && index < params.heads;
  let pair = lane % head_lanes;
  let row = group.y;
  let first = row * (params.stride / 2u) + head * head_pairs + pair;
  var x = vec4f();
  if (is_active) { x = vec4f(qkv[first], qkv[first + head_lanes]); }

  let is_query = head < params.query_heads;
  let is_value = head >= params.query_heads + params.kv_heads;
  partial[lane] = dot(x, x);
  workgroupBarrier();
  if (is_active && params.has_norm == 1u && !is_value) {
    var squares = 0.0;
    for (var other = 0u; other < head_lanes; other++) {
      squares += partial[own_head * head_lanes + other];
    }
    x *= inverseSqrt(squares / f32(HEAD_DIM) + params.epsilon) * norm_weights(is_query, pair);
  }

  let sequence = state[0] + row / params.rows_per_sequence;
  let position = state[1u + sequence] + row % params.rows_per_sequence;
  let is_kept = is_active && position < params.capacity;
  let kv_head = (head - params.query_heads) % params.kv_heads;
  let ring_slot = position % params.write_capacity;
  let own_slot = select(params.write_slot, ring_slot, params.write_slot == NOT_FIXED);
  let slot = (sequence * params.kv_heads + kv_head) * params.write_capacity + own_slot;
  if (is_kept) {
    if (!is_value) {
      let turn = select(position, params.query_rotation + position, is_query) * head_pairs + pair;
      let cosine = rotation[turn];
      let sine = rotation[turn + head_lanes];
      x = vec4f(x.xy * cosine - x.zw * sine, x.zw * cosine + x.xy * sine);
    }
    if (is_query) {
      qkv[first] = x.xy;
      qkv[first + head_lanes] = x.zw;
    } else {
      let word = slot * head_pairs + pair;
      if (!is_value && params.has_center == 1u) {
        let place = kv_head * head_pairs + pair;
        x -= vec4f(center[place], center[place + head_lanes]);
      }
      if (is_value && VALUE_BITS == 32u) {
        let bits = bitcast<vec4u>(x);
        values[2u * word] = bits.x;
        values[2u * word + 1u] = bits.y;
        values[2u * (word + head_lanes)] = bits.z;
        values[2u * (word + head_lanes) + 1u] = bits.w;
      } else if (is_value && VALUE_BITS == 16u) {
        values[word] = pack2x16float(x.xy);
        values[word + head_lanes] = pack2x16float(x.zw);
      } else if (!is_value && KEY_BITS == 32u) {
        let bits = bitcast<vec4u>(x);
        keys[2u * word] = bits.x;
        keys[2u * word + 1u] = bits.y;
        keys[2u * (word + head_lanes)] = bits.z;
        keys[2u * (word + head_lanes) + 1u] = bits.w;
      } else if (!is_value && KEY_BITS == 16u) {
        keys[word] = pack2x16float(x.xy);
        keys[word + head_lanes] = pack2x16float(x.zw);
      }
    }
  }
  if (KEY_BITS < 16u || VALUE_BITS < 16u) {
    let own = own_head * HEAD_DIM;
    if (is_kept && !is_query) {
      heads[own + 2u * pair] = x.x;
      heads[own + 2u * pair + 1u] = x.y;
      heads[own + 2u * (pair + head_lanes)] = x.z;
      heads[own + 2u * (pair + head_lanes) + 1u] = x.w;
    }
    workgroupBarrier();
    let bits = select(KEY_BITS, VALUE_BITS, is_value);
    if (is_kept && !is_query && bits < 16u && pair < HEAD_DIM / 8u) {
      let rounded = piece_of(own, pair, bits);
      let code_words = HEAD_DIM * bits / 32u;
      let row = slot * (code_words + (HEAD_DIM + 31u) / 32u);
      let word = row + pair * bits / 4u;
      let group_word = row + code_words + pair / 4u;
      if (is_value) {
        values[word] = rounded.words.x;
        if (bits == 8u) { values[word + 1u] = rounded.words.y; }
        if (pair % 4u == 0u) { values[group_word] = rounded.group; }
      } else {
        keys[word] = rounded.words.x;
        if (bits == 8u) { keys[word + 1u] = rounded.words.y; }
        if (pair % 4u == 0u) { keys[group_word] = rounded.group; }
      }
    }
  }
}
