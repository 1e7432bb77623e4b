// sketch_query: rotates the queries of a step and rounds them to whole numbers, as sketches of keys are multiplied by them
//
// grid    (ceil(query_heads / 4), sequences, 1)
// reads   state     u32: first sequence of the step
//         qkv       f32[sequences of the step, stride], query heads first, after RoPE
//         means     f32[sequences, kv_heads, HEAD_DIM], what was subtracted from keys
//         rotation  f32[HEAD_DIM, HEAD_DIM], see key_sketch.ts
// writes  queries   f32[sequences, query_heads, ELEMENTS]: whole numbers of at most QUERY_STEPS, 0 past the head
//         factors   f32[sequences, query_heads, 2]: factor on products of levels and these, product with the mean key
// twin    sketch_query.ts

override WORKGROUP_SIZE: u32 = 64;  // threads; a power of two
override HEAD_DIM: u32 = 64;        // elements; a multiple of 8, at most 256
override ELEMENTS: u32 = 64;        // of a sketch
override QUERY_STEPS: u32 = 32767;

const MAX_HEAD_DIM: u32 = 256u;

struct Params {
  stride: u32,
  query_heads: u32,
  kv_heads: u32,
  scale: f32,  // factor on products of queries and keys
  level_scale: f32,   // what stands for 1 among the levels
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> means: array<f32>;
@group(0) @binding(3) var<storage, read> rotation: array<f32>;
@group(0) @binding(4) var<storage, read_write> queries: array<f32>;
@group(0) @binding(5) var<storage, read_write> factors: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

// Of four query heads, which share the reads of the matrix.
var<workgroup> query: array<vec4f, MAX_HEAD_DIM>;
var<workgroup> largest: array<vec4f, WORKGROUP_SIZE>;
var<workgroup> offsets: array<vec4f, WORKGROUP_SIZE>;

fn rotated(i: u32) -> vec4f {
  var sum = vec4f();
  for (var j = 0u; j < HEAD_DIM; j++) { sum += query[j] * rotation[j * HEAD_DIM + i]; }
  return sum;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn sketch_query(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let sequence = state[0] + group.y;
  let heads = min(vec4u(4u * group.x) + vec4u(0u, 1u, 2u, 3u), vec4u(params.query_heads - 1u));
  let kv_heads = sequence * params.kv_heads + heads * params.kv_heads / params.query_heads;
  let places = sequence * params.query_heads + heads;
  let first = group.y * params.stride;
  var offset = vec4f();
  for (var i = lane; i < HEAD_DIM; i += WORKGROUP_SIZE) {
    for (var k = 0u; k < 4u; k++) {
      query[i][k] = qkv[first + heads[k] * HEAD_DIM + i];
      offset[k] += query[i][k] * means[kv_heads[k] * HEAD_DIM + i];
    }
  }
  workgroupBarrier();
  var most = vec4f();
  for (var i = lane; i < HEAD_DIM; i += WORKGROUP_SIZE) {
    let value = rotated(i);
    for (var k = 0u; k < 4u; k++) {
      if (4u * group.x + k < params.query_heads) { queries[places[k] * ELEMENTS + i] = value[k]; }
    }
    most = max(most, abs(value));
  }
  largest[lane] = most;
  offsets[lane] = offset;
  for (var reach = WORKGROUP_SIZE / 2u; reach > 0u; reach /= 2u) {
    workgroupBarrier();
    if (lane < reach) {
      largest[lane] = max(largest[lane], largest[lane + reach]);
      offsets[lane] += offsets[lane + reach];
    }
  }
  workgroupBarrier();
  let step = select(vec4f(1.0), largest[0] / f32(QUERY_STEPS), largest[0] > vec4f());
  for (var k = 0u; k < 4u; k++) {
    // The last workgroup may have fewer heads; a lane reads only what it wrote itself.
    if (4u * group.x + k >= params.query_heads) { continue; }
    for (var i = lane; i < ELEMENTS; i += WORKGROUP_SIZE) {
      var value = 0.0;
      if (i < HEAD_DIM) { value = queries[places[k] * ELEMENTS + i]; }
      queries[places[k] * ELEMENTS + i] = round(value / step[k]);
    }
    if (lane == 0u) {
      factors[2u * places[k]] = step[k] / params.level_scale * params.scale;
      factors[2u * places[k] + 1u] = offsets[0][k] * params.scale;
    }
  }
}
