// argmax_partial: the largest logit of each block of the vocabulary, and where it is.
//
// grid    (blocks, sequences, 1): one workgroup per block
// reads   logits   f32[sequences, stride]
// writes  partial  u32[sequences, blocks, 2]: rank of the largest logit, its column
// twin    argmax_partial.ts
//
// Ranks order like the logits but are integers, so that no step depends on how a compiler treats NaN.

override WORKGROUP_SIZE: u32 = 64;  // threads; power of two

struct Params {
  columns: u32,
  stride: u32,
  blocks: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> partial: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> ranks: array<u32, WORKGROUP_SIZE>;
var<workgroup> columns: array<u32, WORKGROUP_SIZE>;

// NaN ranks highest; both zeros rank the same; 0 is below every logit.
fn rank_of(logit: f32) -> u32 {
  let bits = bitcast<u32>(logit);
  if ((bits & 0x7fffffffu) > 0x7f800000u) { return 0xffffffffu; }
  if ((bits & 0x7fffffffu) == 0u) { return 0x80000000u; }
  return select(bits | 0x80000000u, ~bits, bits >> 31u == 1u);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn argmax_partial(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let fours = (params.columns + 3u) / 4u;
  let block_fours = (fours + params.blocks - 1u) / params.blocks;
  let end = min((group.x + 1u) * block_fours, fours);
  let row = group.y * (params.stride / 4u);
  var best_rank = 0u;
  var best_column = 0u;
  for (var four = group.x * block_fours + lane; four < end; four += WORKGROUP_SIZE) {
    let values = logits[row + four];
    for (var i = 0u; i < 4u; i++) {
      let rank = select(0u, rank_of(values[i]), 4u * four + i < params.columns);
      if (rank > best_rank) {
        best_rank = rank;
        best_column = 4u * four + i;
      }
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
    let place = 2u * (group.y * params.blocks + group.x);
    partial[place] = ranks[0];
    partial[place + 1u] = columns[0];
  }
}
