// norm_in_place: part of each row, divided by its root mean square, times a weight per column.
//
// grid    (rows, 1, 1): one workgroup per row
// reads   weight  f32[columns]
// writes  values  f32[rows, stride]: columns from offset on; all others stay as they were
// twin    norm_in_place.ts

override WORKGROUP_SIZE: u32 = 64;  // threads; power of two

struct Params {
  rows: u32,
  columns: u32,
  stride: u32,
  offset: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<storage, read> weight: array<f32>;
@group(0) @binding(1) var<storage, read_write> values: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> partial: array<f32, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn norm_in_place(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let start = group.x * params.stride + params.offset;
  var squares = 0.0;
  for (var column = lane; column < params.columns; column += WORKGROUP_SIZE) {
    let value = values[start + column];
    squares += value * value;
  }
  partial[lane] = squares;
  workgroupBarrier();
  for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
    if (lane < half) { partial[lane] += partial[lane + half]; }
    workgroupBarrier();
  }
  let factor = inverseSqrt(partial[0] / f32(params.columns) + params.epsilon);
  for (var column = lane; column < params.columns; column += WORKGROUP_SIZE) {
    values[start + column] *= factor * weight[column];
  }
}
