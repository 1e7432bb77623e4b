// matched_saliency: scores of each selection's tokens, combined from those of its matched small heads.
//
// grid    (blocks of BLOCK tokens, head groups, sequences)
// reads   state     u32: first sequence of the step, then the tokens of each sequence before the newest one
//         scores    f32[sequences, heads, capacity] of the small model's heads
//         matched   u32[sequences, groups * group_heads]: small head of each query head, those of a head group adjacent
//         joined    u32[sequences]: consecutive query heads whose scores are combined, a multiple of group_heads
// writes  saliency  f32[sequences, groups, capacity], up to the newest token and to the next multiple of 4
// twin    matched_saliency.ts

override WORKGROUP_SIZE: u32 = 64;  // threads
override BLOCK: u32 = 1024;         // tokens of a workgroup

struct Params {
  groups: u32,
  group_heads: u32,  // query heads of a head group
  heads: u32,        // heads of the small model
  capacity: u32,     // a multiple of 4
  reduction: u32,    // 0 mean, 1 sum, 2 maximum
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> scores: array<vec4f>;
@group(0) @binding(2) var<storage, read> matched: array<u32>;
@group(0) @binding(3) var<storage, read> joined: array<u32>;
@group(0) @binding(4) var<storage, read_write> saliency: array<vec4f>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn matched_saliency(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let sequence = state[0] + group.z;
  let tokens = min(state[1u + sequence] + 1u, params.capacity);
  let head_group = sequence * params.groups + group.y;
  let row = params.capacity / 4u;
  let members = joined[sequence];
  let first = head_group * params.group_heads / members * members;
  let begin = group.x * (BLOCK / 4u);
  let end = min(begin + BLOCK / 4u, (tokens + 3u) / 4u);
  for (var vector = begin + lane; vector < end; vector += WORKGROUP_SIZE) {
    var sum = vec4f();
    for (var member = 0u; member < members; member++) {
      let score = scores[(sequence * params.heads + matched[first + member]) * row + vector];
      sum = select(sum + score, max(sum, score), params.reduction == 2u && member > 0u);
    }
    if (params.reduction == 0u) { sum /= f32(members); }
    saliency[head_group * row + vector] = sum;
  }
}
