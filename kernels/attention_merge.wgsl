//# if SELECTED
//# if REST
// selected_attention_merge_rest: joins the parts that selected_attention_split computed, and the mean of unlisted tokens
//# else
// selected_attention_merge: joins the parts that selected_attention_split computed
//# end
//
// grid    (rows, query_heads, 1): one workgroup per row and head
// reads   partial    f32[splits, rows, query_heads, 8 + 2 * HEAD_DIM], see attention_merge.ts
//# if REST
//         rest       f32[rows / rows_per_sequence, rest_parts, 4 + HEAD_DIM]: mass of the rest, or -1 for what the row
//                    leaves, three unused, mean value
//# end
// writes  output     f32[rows, output_stride], heads side by side
//         attention  f32[rows, query_heads, attention_stride]: scores in base 2 become their softmax, if
//                    has_attention is 1
//# else
// decode_attention_merge: joins the parts that decode_attention computed from splits of the keys
//
// grid    (rows, query_heads, 1): one workgroup per row and head
// reads   partial  f32[splits, rows, query_heads, 4 + HEAD_DIM]: largest score in base 2, sum of the exponentials,
//                  two unused, weighted sum of the values
// writes  output   f32[rows, output_stride], heads side by side
//         log_sum  f32[query_heads, rows], log-sum-exp of the row's scores
//# end
// twin    attention_merge.ts

override WORKGROUP_SIZE: u32 = 32;  // threads
override HEAD_DIM: u32 = 64;        // elements

const LOG2_E = 1.4426950408889634;
//# if REST
const REST_HEADER: u32 = 4;  // numbers before the mean of a rest
//# end

struct Params {
  rows: u32,
  query_heads: u32,
  output_stride: u32,
  splits: u32,
//# if SELECTED
  has_attention: u32,
  attention_stride: u32,
//# if REST
  rows_per_sequence: u32,
  rest_parts: u32,  // means of a sequence
//# end
//# end
}

@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;
//# if SELECTED
@group(0) @binding(2) var<storage, read_write> attention: array<f32>;
//# if REST
@group(0) @binding(3) var<storage, read> rest: array<f32>;
//# end
//# else
@group(0) @binding(2) var<storage, read_write> log_sum: array<f32>;
//# end
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn attention_merge(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.x;
  let head = group.y;
//# if SELECTED
  let header = 8u;
  let size = header + 2u * HEAD_DIM;
//# else
  let header = 4u;
  let size = header + HEAD_DIM;
//# end
  let first = (row * params.query_heads + head) * size;
  let step = params.rows * params.query_heads * size;  // from split to split
  var largest = -3.4e38;
  for (var split = 0u; split < params.splits; split++) {
    largest = max(largest, partial[first + split * step]);
  }
  var sum = 0.0;
//# if SELECTED
  var kept_mass = 0.0;
  var marginal_mass = 0.0;
  var other_mass = 0.0;
  var other_sum = 0.0;
//# end
  for (var split = 0u; split < params.splits; split++) {
    let part = first + split * step;
    let factor = exp2(partial[part] - largest);
    sum += factor * partial[part + 1u];
//# if SELECTED
    kept_mass += partial[part + 2u];
    marginal_mass += partial[part + 3u];
    other_mass += partial[part + 4u];
    other_sum += factor * partial[part + 5u];
//# end
  }
//# if SELECTED
  let mode = u32(partial[first + 6u]);
  let is_broken = partial[first + 7u] < 0.0;
  let no_number = bitcast<f32>(u32(is_broken) * 0x7fc00000u);
//# if REST
  let rest_head = head / (params.query_heads / params.rest_parts);
  let rest_first = (row / params.rows_per_sequence * params.rest_parts + rest_head) * (REST_HEADER + HEAD_DIM);
  let given = rest[rest_first];
  let rest_mass = select(given, max(0.0, 1.0 - kept_mass - marginal_mass), given < 0.0);
  if (given > 0.0) {
    kept_mass = max(0.0, 1.0 - given - marginal_mass);
    other_mass = kept_mass * (other_sum / sum);
  } else if (rest_mass + marginal_mass == 0.0) {
    kept_mass = 0.0;  // nothing joins the full tokens
  }
  marginal_mass += rest_mass;
//# end
  let factors = marginal_factors(mode, vec3f(kept_mass, marginal_mass, other_mass), other_sum / sum);
//# end
  for (var i = lane; i < HEAD_DIM; i += WORKGROUP_SIZE) {
    var element = 0.0;
//# if SELECTED
    var marginal_element = 0.0;
//# end
    for (var split = 0u; split < params.splits; split++) {
      let part = first + split * step;
      element += exp2(partial[part] - largest) * partial[part + header + i];
//# if SELECTED
      marginal_element += partial[part + header + HEAD_DIM + i];
//# end
    }
//# if REST
    marginal_element += rest_mass * rest[rest_first + REST_HEADER + i];
//# end
    element /= sum;
//# if SELECTED
    element = select(element * factors.x + marginal_element * factors.y, no_number, is_broken);
//# end
    output[row * params.output_stride + head * HEAD_DIM + i] = element;
  }
//# if SELECTED
  if (params.has_attention == 1u) {
    let start = (row * params.query_heads + head) * params.attention_stride;
    let kept = u32(max(partial[first + 7u], 0.0));
    for (var entry = lane; entry < kept; entry += WORKGROUP_SIZE) {
      attention[start + entry] = exp2(attention[start + entry] - largest) / sum;
    }
  }
//# else
  if (lane == 0u) {
    log_sum[head * params.rows + row] = (largest + log2(sum)) / LOG2_E;
  }
//# end
}
