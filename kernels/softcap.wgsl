// softcap: bounds logits: cap * tanh(logit / cap), in place.
//
// grid    (ceil(columns / WORKGROUP_SIZE), rows, 1)
// reads   nothing
// writes  values  f32[rows, stride]; elements past columns stay as they were
// twin    softcap.ts

override WORKGROUP_SIZE: u32 = 64;  // threads

struct Params {
  rows: u32,
  columns: u32,
  stride: u32,
  cap: f32,
}

@group(0) @binding(0) var<storage, read_write> values: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn softcap(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let column = group.x * WORKGROUP_SIZE + lane;
  if (column < params.columns) {
    let index = group.y * params.stride + column;
    // Past 20 the result is the cap to f32 precision; some devices' tanh is NaN far out.
    let ratio = clamp(values[index] / params.cap, -20.0, 20.0);
    values[index] = params.cap * tanh(ratio);
  }
}
