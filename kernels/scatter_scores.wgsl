// scatter_scores: scores of the kept tokens of each selection from one layer's attention of the large model.
//
// grid    (blocks of BLOCK list entries, groups_per_layer, sequences)
// reads   lists         u32[sequences, groups, list_words]: kept count, 3 words, group_heads words, then token and row
//                       of each kept token
//         attention     f32[sequences, groups_per_layer * group_heads, attention_stride]: softmax over the list
// writes  large_scores  f32[sequences, groups, capacity]: decay * old score + mean softmax over the head group's heads;
//                       tokens that are not listed stay unchanged
// twin    scatter_scores.ts

override WORKGROUP_SIZE: u32 = 64;  // threads
override BLOCK: u32 = 512;          // list entries of a workgroup

struct Params {
  groups_per_layer: u32,
  group_offset: u32,  // first head group of the layer
  groups: u32,        // head groups of all layers
  group_heads: u32,   // query heads of a head group
  list_words: u32,
  capacity: u32,
  attention_stride: u32,
  decay: f32,
}

@group(0) @binding(0) var<storage, read> lists: array<u32>;
@group(0) @binding(1) var<storage, read> attention: array<f32>;
@group(0) @binding(2) var<storage, read_write> large_scores: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn scatter_scores(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let head_group = group.z * params.groups + params.group_offset + group.y;
  let list = head_group * params.list_words;
  let room = (params.list_words - 4u - params.group_heads) / 2u;
  let begin = group.x * BLOCK;
  let end = min(begin + BLOCK, select(lists[list], 0u, lists[list] > room));
  let head = (group.z * params.groups_per_layer + group.y) * params.group_heads;
  for (var entry = begin + lane; entry < end; entry += WORKGROUP_SIZE) {
    var sum = 0.0;
    for (var member = 0u; member < params.group_heads; member++) {
      sum += attention[(head + member) * params.attention_stride + entry];
    }
    let place = head_group * params.capacity + lists[list + 4u + params.group_heads + 2u * entry];
    large_scores[place] = params.decay * large_scores[place] + sum / f32(params.group_heads);
  }
}
