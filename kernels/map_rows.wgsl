// map_rows: attention rows of head groups, predicted from a few rows of small heads each, and scaled to sum to 1.
//
// grid    (head groups, sequences, 1): one workgroup per row
// reads   state    u32: first sequence of the step, then the tokens of each sequence before the newest one
//         rows     f32[small sequences, heads, capacity], attention of the small heads
//         readers  u32[sequences]: small sequence that each sequence reads
//         sources  u32[sequences, groups, width]: small heads of each head group
//         weights  f32[sequences, groups, width]: their weights, 0 where a head group has fewer
// writes  mapped   f32[sequences, groups, capacity]: max(0, weighted sum), divided by its sum, or 0 if that is 0; up to the
//                  newest token, and 0 from there to the next multiple of 4
// twin    map_rows.ts

override WORKGROUP_SIZE: u32 = 64;  // threads; power of two

struct Params {
  groups: u32,
  width: u32,
  heads: u32,
  capacity: u32,  // a multiple of 4
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> rows: array<vec4f>;
@group(0) @binding(2) var<storage, read> readers: array<u32>;
@group(0) @binding(3) var<storage, read> sources: array<u32>;
@group(0) @binding(4) var<storage, read> weights: array<f32>;
@group(0) @binding(5) var<storage, read_write> mapped: array<vec4f>;
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> partial: array<f32, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn map_rows(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let sequence = state[0] + group.y;
  let tokens = min(state[1u + sequence] + 1u, params.capacity);
  let vectors = (tokens + 3u) / 4u;
  let stride = params.capacity / 4u;
  let target_row = sequence * params.groups + group.x;
  let first_row = readers[sequence] * params.heads;
  var own = 0.0;
  for (var vector = lane; vector < vectors; vector += WORKGROUP_SIZE) {
    var value = vec4f();
    for (var k = 0u; k < params.width; k++) {
      let source = target_row * params.width + k;
      value += weights[source] * rows[(first_row + sources[source]) * stride + vector];
    }
    let is_seen = vec4u(4u * vector) + vec4u(0u, 1u, 2u, 3u) < vec4u(tokens);
    value = select(vec4f(), max(value, vec4f()), is_seen);
    own += dot(value, vec4f(1.0));
    mapped[target_row * stride + vector] = value;
  }
  partial[lane] = own;
  workgroupBarrier();
  for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
    if (lane < half) { partial[lane] += partial[lane + half]; }
    workgroupBarrier();
  }
  let sum = partial[0];
  if (sum <= 0.0) { return; }
  for (var vector = lane; vector < vectors; vector += WORKGROUP_SIZE) {
    mapped[target_row * stride + vector] /= sum;
  }
}
