// update_scores: what the heads of a helper remember of the attention that each token has received.
//
// grid    (blocks of BLOCK tokens, heads, sequences)
// reads   state   u32: first sequence of the step, then the tokens of each sequence before the newest one
//         rows    f32[sequences, heads, capacity], attention of the newest token
//         decays  f32[sequences], factor on what was there
// writes  scores  f32[sequences, heads, capacity]: its decay * what was there + rows, up to the newest token
// twin    update_scores.ts

override WORKGROUP_SIZE: u32 = 64;  // threads
override BLOCK: u32 = 1024;         // tokens of a workgroup

struct Params {
  heads: u32,
  capacity: u32,
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> rows: array<f32>;
@group(0) @binding(2) var<storage, read> decays: array<f32>;
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn update_scores(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let sequence = state[0] + group.z;
  let tokens = min(state[1u + sequence] + 1u, params.capacity);
  let first = (sequence * params.heads + group.y) * params.capacity;
  let decay = decays[sequence];
  let begin = group.x * BLOCK;
  let end = min(begin + BLOCK, tokens);
  for (var token = begin + lane; token < end; token += WORKGROUP_SIZE) {
    scores[first + token] = decay * scores[first + token] + rows[first + token];
  }
}
