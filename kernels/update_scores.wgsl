// update_scores: adds the newest row of attention to the scores of a small model's heads.
//
// grid    (blocks of BLOCK tokens, heads, sequences)
// reads   state   u32: first sequence of the step, then the tokens of each sequence before the newest one
//         rows    f32[sequences, heads, capacity], attention of the newest token
//         decays  f32[sequences], factor on old scores
// writes  scores  f32[sequences, heads, capacity]: decay * old score + rows, up to the newest token
// twin    update_scores.ts

override WORKGROUP_SIZE: u32 = 64;  // threads
override BLOCK: u32 = 1024;         // tokens of a workgroup

struct Params {
  heads: u32,
  capacity: u32,  // a multiple of 4
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> rows: array<vec4f>;
@group(0) @binding(2) var<storage, read> decays: array<f32>;
@group(0) @binding(3) var<storage, read_write> scores: array<vec4f>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn update_scores(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let sequence = state[0] + group.z;
  let tokens = min(state[1u + sequence] + 1u, params.capacity);
  let first = (sequence * params.heads + group.y) * (params.capacity / 4u);
  let decay = decays[sequence];
  let begin = group.x * (BLOCK / 4u);
  let end = min(begin + BLOCK / 4u, (tokens + 3u) / 4u);
  for (var vector = begin + lane; vector < end; vector += WORKGROUP_SIZE) {
    let before = scores[first + vector];
    let is_seen = vec4u(4u * vector) + vec4u(0u, 1u, 2u, 3u) < vec4u(tokens);
    scores[first + vector] = select(before, decay * before + rows[first + vector], is_seen);
  }
}
