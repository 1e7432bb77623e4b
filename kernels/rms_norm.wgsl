// rms_norm: rows divided by their root mean square, times a weight per column, plus the old output if accumulate is 1.
//
// grid    (rows, 1, 1): one workgroup per output row
// reads   input   f32[_, input_stride]; row r of the output comes from row r * row_step + row_offset
//         weight  f32[columns]
// writes  output  f32[rows, output_stride]; elements past columns stay as they were
// twin    rms_norm.ts

override WORKGROUP_SIZE: u32 = 64;  // threads; power of two

struct Params {
  rows: u32,
  columns: u32,
  input_stride: u32,
  output_stride: u32,
  epsilon: f32,
  row_step: u32,
  row_offset: u32,
  accumulate: u32,
}

@group(0) @binding(0) var<storage, read> input: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> partial: array<f32, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn rms_norm(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let source = (group.x * params.row_step + params.row_offset) * params.input_stride;
  let target_start = group.x * params.output_stride;
  var squares = 0.0;
  for (var column = lane; column < params.columns; column += WORKGROUP_SIZE) {
    let value = input[source + column];
    squares += value * value;
  }
  partial[lane] = squares;
  workgroupBarrier();
  for (var stride = WORKGROUP_SIZE / 2u; stride > 0u; stride /= 2u) {
    if (lane < stride) { partial[lane] += partial[lane + stride]; }
    workgroupBarrier();
  }
  let factor = inverseSqrt(partial[0] / f32(params.columns) + params.epsilon);
  for (var column = lane; column < params.columns; column += WORKGROUP_SIZE) {
    var result = input[source + column] * factor * weight[column];
    if (params.accumulate != 0u) { result += output[target_start + column]; }
    output[target_start + column] = result;
  }
}
