// gate_multiply: activation(gate) * up, between the two halves of a gated MLP.
//
// grid    (ceil(columns / (4 * WORKGROUP_SIZE)), rows, 1)
// reads   input   f32[rows, input_stride]: gate at 0, up at up_offset
// writes  output  f32[rows, output_stride]; columns are rounded up to 4, where gate or up is 0
// twin    gate_multiply.ts

override WORKGROUP_SIZE: u32 = 64;  // threads
override IS_GELU: u32 = 0;          // whether the activation is GELU by its tanh formula; else SiLU

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
fn gate_multiply(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let vector = group.x * WORKGROUP_SIZE + lane;
  if (vector < (params.columns + 3u) / 4u) {
    let first = group.y * (params.input_stride / 4u) + vector;
    let gate = input[first];
    let up = input[first + params.up_offset / 4u];
    // GELU by tanh, x / 2 * (1 + tanh(y)), is x / (1 + exp(-2 y)).
    var argument = gate;
    if (IS_GELU == 1u) {
      let near = clamp(gate, vec4f(-20.0), vec4f(20.0));  // its cube stays finite
      argument = 1.5957691216057308 * near * (1.0 + 0.044715 * near * near);
    }
    // The clamp keeps the exponential finite; below it the result is 0 to f32 precision.
    let activated = gate / (1.0 + exp(-max(argument, vec4f(-80.0))));
    output[group.y * (params.output_stride / 4u) + vector] = activated * up;
  }
}
