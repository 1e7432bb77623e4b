// spread_rows: attention rows over the tokens of one tokenizer, from rows over those of another.
//
// grid    (ceil(capacity / WORKGROUP_SIZE), heads, sequences): one thread per token
// reads   counts   u32[sequences]: tokens of each sequence
//         rows     f32[sequences, heads, own_capacity], attention to own tokens
//         starts   u32[sequences, capacity + 1]: first entry of each token, and the end of the last
//         sources  u32[sequences, entries]: own token that an entry is about
//         shares   f32[sequences, entries]: share of it that the token covers
// writes  spread   f32[sequences, heads, capacity]: sums of shares of attention, up to each sequence's count
// twin    spread_rows.ts

override WORKGROUP_SIZE: u32 = 64;  // threads

struct Params {
  heads: u32,
  own_capacity: u32,
  capacity: u32,
  entries: u32,
}

@group(0) @binding(0) var<storage, read> counts: array<u32>;
@group(0) @binding(1) var<storage, read> rows: array<f32>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read> sources: array<u32>;
@group(0) @binding(4) var<storage, read> shares: array<f32>;
@group(0) @binding(5) var<storage, read_write> spread: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn spread_rows(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let token = group.x * WORKGROUP_SIZE + lane;
  let sequence = group.z;
  if (token >= counts[sequence]) { return; }
  let head = sequence * params.heads + group.y;
  let first = sequence * (params.capacity + 1u) + token;
  var sum = 0.0;
  for (var entry = starts[first]; entry < starts[first + 1u]; entry++) {
    let place = sequence * params.entries + entry;
    sum += shares[place] * rows[head * params.own_capacity + sources[place]];
  }
  spread[head * params.capacity + token] = sum;
}
