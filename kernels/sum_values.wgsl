// sum_values: adds the values of some tokens of each sequence to running sums, token by token, in one layer
//
// grid    (KV heads, sequences, 1)
// reads   ranges  u32[sequences, 2]: first token and the one after the last; from token 0 on, sums start again
//         values  f16x2[sequences, kv_heads, slots, HEAD_DIM / 2]; the bits of f32[sequences, kv_heads, slots, HEAD_DIM]
//                 if HAS_F32_VALUES is 1
// writes  sums    f32[layers, sequences, kv_heads, HEAD_DIM]; those of other layers stay unchanged
// twin    sum_values.ts

override WORKGROUP_SIZE: u32 = 64;  // threads
override HEAD_DIM: u32 = 64;        // elements; even
override HAS_F32_VALUES: u32 = 0;   // whether values are stored as f32

const NOT_FIXED: u32 = 4294967295u;

struct Params {
  kv_heads: u32,
  slots: u32,       // head vectors of a KV head in values
  slot: u32,        // which of them is read; that of the token's position if NOT_FIXED
  sum_offset: u32,  // head vectors of other layers before this layer's sums
}

@group(0) @binding(0) var<storage, read> ranges: array<u32>;
@group(0) @binding(1) var<storage, read> values: array<u32>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec2f>;
@group(1) @binding(0) var<uniform> params: Params;

// Two elements of a value.
fn pair_of(word: u32) -> vec2f {
  if (HAS_F32_VALUES == 1u) {
    return vec2f(bitcast<f32>(values[2u * word]), bitcast<f32>(values[2u * word + 1u]));
  }
  return unpack2x16float(values[word]);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn sum_values(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let head_pairs = HEAD_DIM / 2u;
  let head = group.y * params.kv_heads + group.x;
  let first = ranges[2u * group.y];
  let end = ranges[2u * group.y + 1u];
  if (first >= end) { return; }
  for (var pair = lane; pair < head_pairs; pair += WORKGROUP_SIZE) {
    let place = (params.sum_offset + head) * head_pairs + pair;
    var sum = vec2f();
    if (first > 0u) { sum = sums[place]; }
    for (var token = first; token < end; token++) {
      let slot = select(params.slot, token, params.slot == NOT_FIXED);
      sum += pair_of((head * params.slots + slot) * head_pairs + pair);
    }
    sums[place] = sum;
  }
}
