// listed_rows: attention of the newest token by position: the softmax over a list, 0 for tokens that are not listed.
//
// grid    (blocks of BLOCK tokens, query heads of the layer, sequences)
// reads   state      u32: first sequence of the step, then the tokens of each sequence before the newest one
//         lists      u32[sequences, groups, list_words]: kept count, 3 words, group_heads words, then token and row of
//                    each kept token, ascending
//         attention  f32[sequences of the step, query heads of the layer, attention_stride]: softmax over the list
// writes  rows       f32[sequences, heads_total, capacity], up to the newest token
// twin    listed_rows.ts

override WORKGROUP_SIZE: u32 = 64;  // threads
override BLOCK: u32 = 512;          // tokens of a workgroup

struct Params {
  groups_per_layer: u32,
  group_offset: u32,  // first head group of the layer
  groups: u32,        // head groups of all layers
  group_heads: u32,   // query heads of a head group
  list_words: u32,
  capacity: u32,
  attention_stride: u32,
  head_offset: u32,  // first query head of the layer
  heads_total: u32,  // query heads of all layers
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> lists: array<u32>;
@group(0) @binding(2) var<storage, read> attention: array<f32>;
@group(0) @binding(3) var<storage, read_write> rows: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn listed_rows(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let sequence = state[0] + group.z;
  let head_group = sequence * params.groups + params.group_offset + group.y / params.group_heads;
  let list = head_group * params.list_words;
  let room = (params.list_words - 4u - params.group_heads) / 2u;
  let kept = select(lists[list], 0u, lists[list] > room);
  let entries = list + 4u + params.group_heads;
  let heads = params.groups_per_layer * params.group_heads;
  let attention_row = (group.z * heads + group.y) * params.attention_stride;
  let row = (sequence * params.heads_total + params.head_offset + group.y) * params.capacity;
  let begin = group.x * BLOCK;
  let end = min(begin + BLOCK, min(state[1u + sequence] + 1u, params.capacity));
  for (var token = begin + lane; token < end; token += WORKGROUP_SIZE) {
    var low = 0u;  // entries before it have smaller tokens
    var high = kept;
    while (low < high) {
      let middle = (low + high) / 2u;
      if (lists[entries + 2u * middle] < token) {
        low = middle + 1u;
      } else {
        high = middle;
      }
    }
    var value = 0.0;
    if (low < kept && lists[entries + 2u * low] == token) {
      value = attention[attention_row + low];
    }
    rows[row + token] = value;
  }
}
