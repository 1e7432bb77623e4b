// decode_attention_merge: joins the parts that decode_attention computed from splits of the keys.
//
// grid    (rows, query_heads, 1): one workgroup per row and head
// reads   partial  f32[splits, rows, query_heads, 4 + HEAD_DIM]: largest score in base 2, sum of the
//                  exponentials, two unused, weighted sum of the values
// writes  output   f32[rows, output_stride], heads side by side
//         log_sum  f32[query_heads, rows], log-sum-exp of the row's scores
// twin    decode_attention_merge.ts

override WORKGROUP_SIZE: u32 = 32;  // threads
override HEAD_DIM: u32 = 64;        // elements

struct Params {
  rows: u32,
  query_heads: u32,
  output_stride: u32,
  splits: u32,
}

@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;
@group(0) @binding(2) var<storage, read_write> log_sum: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

const LOG2_E = 1.4426950408889634;

@compute @workgroup_size(WORKGROUP_SIZE)
fn decode_attention_merge(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.x;
  let head = group.y;
  let first = (row * params.query_heads + head) * (4u + HEAD_DIM);
  let step = params.rows * params.query_heads * (4u + HEAD_DIM);  // from split to split
  var largest = -3.4e38;
  for (var split = 0u; split < params.splits; split++) {
    largest = max(largest, partial[first + split * step]);
  }
  var sum = 0.0;
  for (var split = 0u; split < params.splits; split++) {
    let part = first + split * step;
    sum += exp2(partial[part] - largest) * partial[part + 1u];
  }
  for (var i = lane; i < HEAD_DIM; i += WORKGROUP_SIZE) {
    var element = 0.0;
    for (var split = 0u; split < params.splits; split++) {
      let part = first + split * step;
      element += exp2(partial[part] - largest) * partial[part + 4u + i];
    }
    output[row * params.output_stride + head * HEAD_DIM + i] = element / sum;
  }
  if (lane == 0u) {
    log_sum[head * params.rows + row] = (largest + log2(sum)) / LOG2_E;
  }
}
