// int8_activations: activations as integers of 8 bits, with a scale for each 32 columns: see matmul_int8.ts.
//
// grid    (ceil(columns / 256), rows, 1): a workgroup rounds 8 blocks of a row, 8 lanes each
// reads   input   f32[_, input_stride]
// writes  bytes   four signed integers a word, u32[rows, columns / 4]
//         scales  for each block the bits of its scale, NaN where one is not finite, and two sums of 16 integers in 16
//                 bits each, u32[rows, columns / 32, 2]
// twin    int8_activations.ts

const BLOCKS: u32 = 8;  // of a workgroup

struct Params {
  columns: u32,
  input_stride: u32,
}

@group(0) @binding(0) var<storage, read> input: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> bytes: array<u32>;
@group(0) @binding(2) var<storage, read_write> scales: array<vec2u>;
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> largest: array<atomic<u32>, BLOCKS>;
var<workgroup> sums: array<atomic<i32>, 2 * BLOCKS>;

// The float nearest to quotient * 2^(exponent - 150), of a quotient of 25 or 26 bits and perhaps a bit more. Divisions of
// WGSL may be off by units in the last place, with which some integers would be others than on the CPU device.
fn nearest(quotient: u32, has_rest: bool, exponent: u32) -> f32 {
  let extra = 8u - countLeadingZeros(quotient);
  let kept = quotient >> extra;
  let dropped = quotient & ((1u << extra) - 1u);
  let half = 1u << (extra - 1u);
  // Half a unit and no rest cannot be: significands over 127 or under it that end have few bits.
  let is_up = dropped > half || (dropped == half && has_rest);
  return bitcast<f32>(((exponent + extra) << 23u) + (kept - 0x800000u) + select(0u, 1u, is_up));
}

// A float over 127.
fn scale_of(bits: u32) -> f32 {
  let significand = ((bits & 0x7fffffu) | 0x800000u) << 8u;
  return nearest(significand / 127u, significand % 127u != 0u, (bits >> 23u) - 8u);
}

// 127 over a float, by long division in steps whose remainders fit a word.
fn factor_of(bits: u32) -> f32 {
  let significand = (bits & 0x7fffffu) | 0x800000u;
  var rest = 127u << 16u;
  var quotient = 0u;
  for (var step = 0u; step < 4u; step++) {
    let places = select(8u, 2u, step == 3u);
    rest <<= places;
    quotient = (quotient << places) | (rest / significand);
    rest %= significand;
  }
  return nearest(quotient, rest != 0u, 258u - (bits >> 23u));
}

@compute @workgroup_size(64)
fn int8_activations(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let own = thread / 8u;
  let lane = thread % 8u;
  let blocks = params.columns / 32u;
  let block = group.x * BLOCKS + own;
  let is_used = block < blocks;
  var values = vec4f();
  if (is_used) {
    values = input[group.y * (params.input_stride / 4u) + block * 8u + lane];
  }
  let magnitudes = bitcast<vec4u>(values) & vec4u(0x7fffffffu);
  let most = max(max(magnitudes.x, magnitudes.y), max(magnitudes.z, magnitudes.w));
  atomicMax(&largest[own], most);
  workgroupBarrier();
  let bits = atomicLoad(&largest[own]);
  let is_finite = bits < 0x7f800000u;
  let is_zero = bits < 0x0d800000u;  // below 2^-100
  let safe_bits = select(bits, 0x3f800000u, is_zero || !is_finite);
  let rounded = vec4i(round(values * factor_of(safe_bits)));
  let integers = select(rounded, vec4i(), vec4<bool>(is_zero || !is_finite));
  atomicAdd(&sums[2u * own + lane / 4u], integers.x + integers.y + integers.z + integers.w);
  workgroupBarrier();
  if (!is_used) { return; }
  let place = group.y * blocks + block;
  bytes[place * 8u + lane] = pack4xI8(integers);
  if (lane == 0u) {
    let scale = select(bitcast<u32>(scale_of(safe_bits)), 0u, is_zero);
    let first = bitcast<u32>(atomicLoad(&sums[2u * own])) & 0xffffu;
    let second = bitcast<u32>(atomicLoad(&sums[2u * own + 1u])) << 16u;
    scales[place] = vec2u(select(0x7fc00000u, scale, is_finite), first | second);
  }
}
