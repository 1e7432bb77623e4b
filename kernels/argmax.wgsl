//# if PARTIAL
// argmax_partial: the largest logit of each block of the vocabulary, and where it is.
//
// grid    (blocks, sequences, 1): one workgroup per block
// reads   logits   f32[sequences, stride]
// writes  partial  u32[sequences, blocks, 2]: rank of the largest logit, its column
// twin    argmax.ts
//
// Ranks order like the logits but are integers, so that no step depends on how a compiler treats NaN.
//# else
// argmax: the token with the largest logit, written after its sequence; ties go to the lowest id.
//
// grid    (sequences, 1, 1): one workgroup per sequence of the step
// reads   partial  u32[sequences, blocks, 2], from argmax_partial: rank of the largest logit, its column
// writes  tokens   u32[sequences, capacity]; 0xffffffff if a logit is not a number
//         state    u32: first sequence of the step, then the cached tokens of each sequence, which advance
// twin    argmax.ts
//# end

override WORKGROUP_SIZE: u32 = 64;  // threads; power of two

struct Params {
//# if PARTIAL
  columns: u32,
  stride: u32,
  blocks: u32,
//# else
  blocks: u32,
  capacity: u32,
  advance: u32,  // rows that the step has added to each sequence
//# end
}

//# if PARTIAL
@group(0) @binding(0) var<storage, read> logits: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> partial: array<u32>;
//# else
@group(0) @binding(0) var<storage, read> partial: array<u32>;
@group(0) @binding(1) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(2) var<storage, read_write> state: array<u32>;
//# end
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> ranks: array<u32, WORKGROUP_SIZE>;
var<workgroup> columns: array<u32, WORKGROUP_SIZE>;
//# if PARTIAL

// NaN ranks highest; both zeros rank the same; 0 is below every logit.
fn rank_of(logit: f32) -> u32 {
  let bits = bitcast<u32>(logit);
  if ((bits & 0x7fffffffu) > 0x7f800000u) { return 0xffffffffu; }
  if ((bits & 0x7fffffffu) == 0u) { return 0x80000000u; }
  return select(bits | 0x80000000u, ~bits, bits >> 31u == 1u);
}
//# end

@compute @workgroup_size(WORKGROUP_SIZE)
fn argmax(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  var best_rank = 0u;
  var best_column = 0u;
//# if PARTIAL
  let vec4s = (params.columns + 3u) / 4u;
  let block_vec4s = (vec4s + params.blocks - 1u) / params.blocks;
  let end = min((group.x + 1u) * block_vec4s, vec4s);
  let row = group.y * (params.stride / 4u);
  for (var place = group.x * block_vec4s + lane; place < end; place += WORKGROUP_SIZE) {
    let values = logits[row + place];
    for (var i = 0u; i < 4u; i++) {
      let rank = select(0u, rank_of(values[i]), 4u * place + i < params.columns);
      if (rank > best_rank) {
        best_rank = rank;
        best_column = 4u * place + i;
      }
    }
  }
//# else
  for (var block = lane; block < params.blocks; block += WORKGROUP_SIZE) {
    let place = 2u * (group.x * params.blocks + block);
    if (partial[place] > best_rank) {
      best_rank = partial[place];
      best_column = partial[place + 1u];
    }
  }
//# end
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
//# if PARTIAL
    let place = 2u * (group.y * params.blocks + group.x);
    partial[place] = ranks[0];
    partial[place + 1u] = columns[0];
//# else
    let sequence = state[0] + group.x;
    let position = state[1u + sequence] + params.advance;
    let is_nan = ranks[0] == 0xffffffffu;
    if (position < params.capacity) {
      tokens[sequence * params.capacity + position] = select(columns[0], 0xffffffffu, is_nan);
    }
    state[1u + sequence] = position;
//# end
  }
}
