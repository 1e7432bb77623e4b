// half_activations: rows times a power of two that brings their largest magnitude to 16 or up to 32, as halves.
//
// grid    (rows, 1, 1): one workgroup per row
// reads   input   f32[_, input_stride]
// writes  halves  two halves a word, u32[rows, columns / 2]
//         scales  by which halves must be multiplied, f32 bits[rows]; NaN for rows with infinity or NaN
// twin    half_activations.ts

override WORKGROUP_SIZE: u32 = 64;  // threads; power of two

struct Params {
  columns: u32,
  input_stride: u32,
}

@group(0) @binding(0) var<storage, read> input: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> halves: array<vec2u>;
@group(0) @binding(2) var<storage, read_write> scales: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> largest: array<u32, WORKGROUP_SIZE>;

// Bits of magnitudes are in the order of their values, infinity and NaN last, whatever an adapter makes of these.
fn most(values: vec4f) -> u32 {
  let bits = bitcast<vec4u>(values) & vec4u(0x7fffffffu);
  return max(max(bits.x, bits.y), max(bits.z, bits.w));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn half_activations(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let quads = params.columns / 4u;
  let source = group.x * (params.input_stride / 4u);
  var own = 0u;
  for (var quad = lane; quad < quads; quad += WORKGROUP_SIZE) {
    own = max(own, most(input[source + quad]));
  }
  largest[lane] = own;
  workgroupBarrier();
  for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
    if (lane < half) { largest[lane] = max(largest[lane], largest[lane + half]); }
    workgroupBarrier();
  }
  let exponent = largest[0] >> 23u;
  let is_finite = exponent < 255u;
  let is_zero = exponent < 27u;  // below 2^-100
  let factor = bitcast<f32>(select((258u - exponent) << 23u, 0u, is_zero || !is_finite));
  if (lane == 0u) {
    let scale = select((exponent - 4u) << 23u, 0u, is_zero);
    scales[group.x] = select(0x7fc00000u, scale, is_finite);
  }
  for (var quad = lane; quad < quads; quad += WORKGROUP_SIZE) {
    let values = input[source + quad] * factor;
    let words = vec2u(pack2x16float(values.xy), pack2x16float(values.zw));
    halves[group.x * quads + quad] = select(vec2u(), words, is_finite);
  }
}
