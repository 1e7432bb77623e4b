// rest_values: the mean value of the tokens that a head group does not list, and the attention that falls on them
//
// grid    (selections of the layer, sequences of the step, 1)
// reads   state   u32: first sequence of the step, then the cached tokens of each sequence
//         lists   u32[sequences, groups, list_words], see selection_list.ts
//         values  f16x2[head vectors, HEAD_DIM / 2], or the bits of f32[head vectors, HEAD_DIM] if HAS_F32_VALUES is 1
//         sums    f32[layers, sequences, kv_heads, HEAD_DIM], values of all tokens; see sum_values.ts
//         masses  f32[sequences, groups]: attention to the rest, -1 where a row tells it, 0 where the rest does not count
// writes  rest    f32[sequences of the step, selections of the layer, 4 + HEAD_DIM]: the mass, three zeros, the mean;
//                 all zeros where no token is left, or the rest does not count
// twin    rest_values.ts

override WORKGROUP_SIZE: u32 = 256;  // threads; at least HEAD_DIM / 2
override HEAD_DIM: u32 = 64;         // elements; even
override HAS_F32_VALUES: u32 = 0;    // whether values are stored as f32

const HEADER_WORDS: u32 = 4;  // words of a list before its matched heads
const HEADER_PAIRS: u32 = 2;  // before a mean

struct Params {
  group_offset: u32,       // first selection of the layer
  groups: u32,             // selections of all layers
  group_heads: u32,        // query heads of a selection
  list_words: u32,
  groups_per_layer: u32,
  kv_heads: u32,
  rows_per_sequence: u32,  // new tokens of each sequence
  sum_offset: u32,         // head vectors of other layers before this layer's sums
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> lists: array<u32>;
@group(0) @binding(2) var<storage, read> values: array<u32>;
@group(0) @binding(3) var<storage, read> sums: array<vec2f>;
@group(0) @binding(4) var<storage, read> masses: array<f32>;
@group(0) @binding(5) var<storage, read_write> rest: array<vec2f>;
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> partial: array<vec2f, WORKGROUP_SIZE>;

// Two elements of a value.
fn pair_of(word: u32) -> vec2f {
  if (HAS_F32_VALUES == 1u) {
    return vec2f(bitcast<f32>(values[2u * word]), bitcast<f32>(values[2u * word + 1u]));
  }
  return unpack2x16float(values[word]);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn rest_values(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let head_pairs = HEAD_DIM / 2u;
  let slices = WORKGROUP_SIZE / head_pairs;  // lanes that share a pair of elements, each with a part of the list
  let pair = lane % head_pairs;
  let sequence = state[0] + group.y;
  let head_group = sequence * params.groups + params.group_offset + group.x;
  let list = head_group * params.list_words;
  let room = (params.list_words - HEADER_WORDS - params.group_heads) / 2u;
  let is_broken = lists[list] > room || lists[list + 1u] > room - min(lists[list], room);
  let listed = select(lists[list] + lists[list + 1u], 0u, is_broken);
  let tokens = state[1u + sequence] + params.rows_per_sequence;
  let left = max(tokens, listed) - listed;
  let mass = select(masses[head_group], 0.0, left == 0u);
  let entries = list + HEADER_WORDS + params.group_heads;
  let end = select(listed, 0u, mass == 0.0);

  var sum = vec2f();
  if (lane < slices * head_pairs) {
    for (var entry = lane / head_pairs; entry < end; entry += slices) {
      sum += pair_of(lists[entries + 2u * entry + 1u] * head_pairs + pair);
    }
  }
  partial[lane] = sum;
  workgroupBarrier();
  let place = (group.y * params.groups_per_layer + group.x) * (HEADER_PAIRS + head_pairs);
  if (lane < head_pairs) {
    let kv_head = group.x / (params.groups_per_layer / params.kv_heads);
    let head = params.sum_offset + sequence * params.kv_heads + kv_head;
    var mean = sums[head * head_pairs + pair];
    for (var slice = 0u; slice < slices; slice++) {
      mean -= partial[slice * head_pairs + pair];
    }
    rest[place + HEADER_PAIRS + pair] = select(mean / f32(left), vec2f(), mass == 0.0);
  }
  if (lane == 0u) {
    rest[place] = vec2f(mass, 0.0);
    rest[place + 1u] = vec2f();
  }
}
