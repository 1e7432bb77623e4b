// argmax: the token with the largest logit, written behind its sequence; ties go to the lowest id.
//
// grid    (sequences, 1, 1): one workgroup per sequence of the step
// reads   partial  u32[sequences, blocks, 2], from argmax_partial: rank of the largest logit, its column
// writes  tokens   u32[sequences, capacity]; 0xffffffff if a logit is not a number
//         state    u32: first sequence of the step, then the cached tokens of each sequence, which advance
// twin    argmax.ts

override WORKGROUP_SIZE: u32 = 64;  // threads; power of two

struct Params {
  blocks: u32,
  capacity: u32,
  advance: u32,  // rows that the step has added to each sequence
}

@group(0) @binding(0) var<storage, read> partial: array<u32>;
@group(0) @binding(1) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(2) var<storage, read_write> state: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> ranks: array<u32, WORKGROUP_SIZE>;
var<workgroup> columns: array<u32, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn argmax(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  var best_rank = 0u;
  var best_column = 0u;
  for (var block = lane; block < params.blocks; block += WORKGROUP_SIZE) {
    let place = 2u * (group.x * params.blocks + block);
    if (partial[place] > best_rank) {
      best_rank = partial[place];
      best_column = partial[place + 1u];
    }
  }
  ranks[lane] = best_rank;
  columns[lane] = best_column;
  workgroupBarrier();
  for (var stride = WORKGROUP_SIZE / 2u; stride > 0u; stride /= 2u) {
    if (lane < stride) {
      let other = lane + stride;
      let is_tie = ranks[other] == ranks[lane];
      if (ranks[other] > ranks[lane] || (is_tie && columns[other] < columns[lane])) {
        ranks[lane] = ranks[other];
        columns[lane] = columns[other];
      }
    }
    workgroupBarrier();
  }
  if (lane == 0u) {
    let sequence = state[0] + group.x;
    let position = state[1u + sequence] + params.advance;
    let is_nan = ranks[0] == 0xffffffffu;
    if (position < params.capacity) {
      tokens[sequence * params.capacity + position] = select(columns[0], 0xffffffffu, is_nan);
    }
    state[1u + sequence] = position;
  }
}
