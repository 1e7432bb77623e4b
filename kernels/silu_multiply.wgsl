// silu_multiply: silu(gate) * up, the activation between the two halves of a gated MLP.
//
// grid    (ceil(columns / (4 * WORKGROUP_SIZE)), rows, 1)
// reads   input   f32[rows, input_stride]: gate at 0, up at up_offset
// writes  output  f32[rows, output_stride]; columns are rounded up to 4, where gate or up is 0
// twin    silu_multiply.ts

override WORKGROUP_SIZE: u32 = 64;  // threads

struct Params {
  rows: u32,
  columns: u32,
  input_stride: u32,
  up_offset: u32,
  output_stride: u32,
}

@group(0) @binding(0) var<storage, read> input: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> output: array<vec4f>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn silu_multiply(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let vector = group.x * WORKGROUP_SIZE + lane;
  if (vector < (params.columns + 3u) / 4u) {
    let first = group.y * (params.input_stride / 4u) + vector;
    let gate = input[first];
    let up = input[first + params.up_offset / 4u];
    // The clamp keeps the exponential finite; below it silu is 0 to f32 precision.
    let silu = gate / (1.0 + exp(-max(gate, vec4f(-80.0))));
    output[group.y * (params.output_stride / 4u) + vector] = silu * up;
  }
}
