// mean_rows: mean of the rows of the query heads that rank together
//
// grid    (ceil(capacity / 4 / WORKGROUP_SIZE), lists of the layer, sequences)
// reads   state     u32: first sequence of the step, then the tokens of each sequence before the newest one
//         joined    u32[sequences]: consecutive query heads that rank together, a multiple of group_heads
//         rows      f32[sequences, query_heads, capacity]
// writes  saliency  f32[sequences, groups, capacity], those of the layer, up to the newest token and to the next multiple
//                   of 4
// twin    mean_rows.ts

override WORKGROUP_SIZE: u32 = 64;  // threads, each with four tokens

struct Params {
  query_heads: u32,
  group_heads: u32,   // query heads that share a list
  group_offset: u32,  // first list of the layer
  groups: u32,        // lists of all layers
  capacity: u32,      // a multiple of 4
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> joined: array<u32>;
@group(0) @binding(2) var<storage, read> rows: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> saliency: array<vec4f>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn mean_rows(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let sequence = state[0] + group.z;
  let stride = params.capacity / 4u;
  let i = group.x * WORKGROUP_SIZE + lane;
  if (i >= min(state[1u + sequence] / 4u + 1u, stride)) { return; }
  let members = joined[sequence];
  let first_head = sequence * params.query_heads
    + group.y * params.group_heads / members * members;
  var sum = vec4f();
  for (var member = 0u; member < members; member++) {
    sum += rows[(first_head + member) * stride + i];
  }
  let list = sequence * params.groups + params.group_offset + group.y;
  saliency[list * stride + i] = sum / f32(members);
}
