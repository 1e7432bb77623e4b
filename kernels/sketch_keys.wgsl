// sketch_keys: codes and scales of new keys
//
// grid    (kv_heads, pairs of tokens whose scales share a word, sequences)
// reads   state     u32: first sequence of the step, then the tokens of each sequence before the new ones
//         keys      f16x2[sequences, kv_heads, key_capacity, HEAD_DIM / 2], after RoPE; the bits of
//                   f32[sequences, kv_heads, key_capacity, HEAD_DIM] if HAS_F32_KEYS is 1
//         means     f32[sequences, kv_heads, HEAD_DIM], subtracted from keys
//         rotation  f32[HEAD_DIM, HEAD_DIM], see key_sketch.ts
//         levels    f32[1 << BITS], ascending
// writes  codes     u32[sequences, kv_heads, capacity / 4, WORDS, 4], see key_sketch.ts
//         scales    f16x2[sequences, kv_heads, capacity / 2]
// twin    sketch_keys.ts

override WORKGROUP_SIZE: u32 = 64;  // threads
override HEAD_DIM: u32 = 64;        // elements; a multiple of 8, at most 256
override BITS: u32 = 2;             // of an element: 1, 2 or 4
override WORDS: u32 = 4;            // of a token's codes
override HAS_F32_KEYS: u32 = 0;     // whether keys are stored as f32

const MAX_HEAD_DIM: u32 = 256u;
const NOT_FIXED: u32 = 4294967295u;

struct Params {
  rows_per_sequence: u32,
  kv_heads: u32,
  capacity: u32,
  key_capacity: u32,  // head vectors of a KV head in keys
  key_slot: u32,      // which of them is read; that of the token's position if NOT_FIXED
  level_scale: f32,          // what stands for 1 among the levels
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> keys: array<u32>;
@group(0) @binding(2) var<storage, read> means: array<f32>;
@group(0) @binding(3) var<storage, read> rotation: array<f32>;
@group(0) @binding(4) var<storage, read> levels: array<f32>;
@group(0) @binding(5) var<storage, read_write> codes: array<u32>;
@group(0) @binding(6) var<storage, read_write> scales: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> centered: array<f32, MAX_HEAD_DIM>;
var<workgroup> rotated: array<f32, MAX_HEAD_DIM>;
var<workgroup> squares: array<f32, WORKGROUP_SIZE>;

fn key_element(index: u32) -> f32 {
  if (HAS_F32_KEYS == 1u) { return bitcast<f32>(keys[index]); }
  let pair = unpack2x16float(keys[index / 2u]);
  return select(pair.x, pair.y, index % 2u == 1u);
}

// Index of the nearest level.
fn code_of(value: f32) -> u32 {
  var code = 0u;
  for (var level = 1u; level < (1u << BITS); level++) {
    code += select(0u, 1u, value > 0.5 * (levels[level - 1u] + levels[level]));
  }
  return code;
}

// A word of codes: byte j of the token has elements j, j + 4 * WORDS and so on.
fn word_of(word: u32, factor: f32) -> u32 {
  var bits = 0u;
  for (var byte = 0u; byte < 4u; byte++) {
    for (var field = 0u; field < 8u / BITS; field++) {
      let element = 4u * word + byte + 4u * WORDS * field;
      if (element < HEAD_DIM) {
        bits |= code_of(rotated[element] * factor) << (8u * byte + BITS * field);
      }
    }
  }
  return bits;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn sketch_keys(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let sequence = state[0] + group.z;
  let head = sequence * params.kv_heads + group.x;
  let begin = state[1u + sequence];
  let end = min(begin + params.rows_per_sequence, params.capacity);
  let pair = begin / 2u + group.y;
  for (var half = 0u; half < 2u; half++) {
    let token = 2u * pair + half;
    if (token < begin || token >= end) { continue; }
    let slot = select(params.key_slot, token, params.key_slot == NOT_FIXED);
    let first = (head * params.key_capacity + slot) * HEAD_DIM;
    for (var i = lane; i < HEAD_DIM; i += WORKGROUP_SIZE) {
      centered[i] = key_element(first + i) - means[head * HEAD_DIM + i];
    }
    workgroupBarrier();
    var square = 0.0;
    for (var i = lane; i < HEAD_DIM; i += WORKGROUP_SIZE) {
      var sum = 0.0;
      for (var j = 0u; j < HEAD_DIM; j++) { sum += centered[j] * rotation[j * HEAD_DIM + i]; }
      rotated[i] = sum;
      square += sum * sum;
    }
    squares[lane] = square;
    workgroupBarrier();
    var total = 0.0;
    for (var other = 0u; other < WORKGROUP_SIZE; other++) { total += squares[other]; }
    let scale = sqrt(total / f32(HEAD_DIM));
    let factor = select(0.0, params.level_scale / scale, scale > 0.0);
    let block = (head * (params.capacity / 4u) + token / 4u) * 4u * WORDS + token % 4u;
    for (var word = lane; word < WORDS; word += WORKGROUP_SIZE) {
      codes[block + 4u * word] = word_of(word, factor);
    }
    if (lane == 0u) {
      let place = head * (params.capacity / 2u) + pair;
      let bits = pack2x16float(vec2f(scale, 0.0));
      let old = scales[place];
      scales[place] = select((old & 0xffff0000u) | bits, (old & 0xffffu) | (bits << 16u), half == 1u);
    }
    workgroupBarrier();
  }
}
