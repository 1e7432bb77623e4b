// softmax_rows: softmax of each query head's scores of all tokens
//
// grid    (query_heads, sequences, 1)
// reads   state        u32: first sequence of the step, then the tokens of each sequence before the newest one
//         sink_logits  f32[query_heads], logit of each head's sink; read if has_sinks is 1
// writes  rows         f32[sequences, query_heads, capacity]: scores in base 2 become the softmax, up to the newest token
//                      and to the next multiple of 4
// twin    softmax_rows.ts

override WORKGROUP_SIZE: u32 = 128;  // threads; a power of two

const LOG2_E = 1.4426950408889634;
const LOWEST = -3.4e38;

struct Params {
  query_heads: u32,
  capacity: u32,  // a multiple of 4
  has_sinks: u32,
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> sink_logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> rows: array<vec4f>;
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> parts: array<f32, WORKGROUP_SIZE>;

// The largest number of all lanes.
fn largest_of(lane: u32, value: f32) -> f32 {
  workgroupBarrier();
  parts[lane] = value;
  for (var reach = WORKGROUP_SIZE / 2u; reach > 0u; reach /= 2u) {
    workgroupBarrier();
    if (lane < reach) { parts[lane] = max(parts[lane], parts[lane + reach]); }
  }
  workgroupBarrier();
  return parts[0];
}

// The sum over all lanes.
fn sum_of(lane: u32, value: f32) -> f32 {
  workgroupBarrier();
  parts[lane] = value;
  for (var reach = WORKGROUP_SIZE / 2u; reach > 0u; reach /= 2u) {
    workgroupBarrier();
    if (lane < reach) { parts[lane] += parts[lane + reach]; }
  }
  workgroupBarrier();
  return parts[0];
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn softmax_rows(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let sequence = state[0] + group.y;
  let vectors = min(state[1u + sequence] / 4u + 1u, params.capacity / 4u);
  let row = (sequence * params.query_heads + group.x) * (params.capacity / 4u);
  var sink = LOWEST;
  if (params.has_sinks == 1u) { sink = sink_logits[group.x] * LOG2_E; }
  var most = vec4f(sink);
  for (var i = lane; i < vectors; i += WORKGROUP_SIZE) { most = max(most, rows[row + i]); }
  let largest = largest_of(lane, max(max(most.x, most.y), max(most.z, most.w)));
  var total = vec4f();
  for (var i = lane; i < vectors; i += WORKGROUP_SIZE) {
    let power = exp2(rows[row + i] - largest);
    rows[row + i] = power;
    total += power;
  }
  let sum = sum_of(lane, (total.x + total.y) + (total.z + total.w)) + exp2(sink - largest);
  // A lane reads only what it wrote itself.
  for (var i = lane; i < vectors; i += WORKGROUP_SIZE) { rows[row + i] /= sum; }
}
