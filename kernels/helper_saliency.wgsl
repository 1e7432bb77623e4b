// helper_saliency: scores of each selection's tokens, joined from those of its matched helper heads.
//
// grid    (blocks of BLOCK tokens, units, sequences)
// reads   state     u32: first sequence of the step, then the tokens of each sequence before the newest one
//         scores    f32[sequences, heads, capacity] of the helper's heads
//         matched   u32[sequences, units * unit_heads]: helper head of each query head, a unit's side by side
// writes  saliency  f32[sequences, units, capacity], up to the newest token
// twin    helper_saliency.ts

override WORKGROUP_SIZE: u32 = 64;  // threads
override BLOCK: u32 = 512;          // tokens of a workgroup

struct Params {
  units: u32,
  unit_heads: u32,  // query heads of a unit
  heads: u32,       // heads of the helper
  capacity: u32,
  reduction: u32,   // 0 mean, 1 sum, 2 maximum
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> scores: array<f32>;
@group(0) @binding(2) var<storage, read> matched: array<u32>;
@group(0) @binding(3) var<storage, read_write> saliency: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn helper_saliency(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let sequence = state[0] + group.z;
  let tokens = min(state[1u + sequence] + 1u, params.capacity);
  let unit = sequence * params.units + group.y;
  let begin = group.x * BLOCK;
  let end = min(begin + BLOCK, tokens);
  for (var token = begin + lane; token < end; token += WORKGROUP_SIZE) {
    var joined = 0.0;
    for (var member = 0u; member < params.unit_heads; member++) {
      let head = matched[unit * params.unit_heads + member];
      let score = scores[(sequence * params.heads + head) * params.capacity + token];
      joined = select(joined + score, max(joined, score), params.reduction == 2u && member > 0u);
    }
    if (params.reduction == 0u) { joined /= f32(params.unit_heads); }
    saliency[unit * params.capacity + token] = joined;
  }
}
