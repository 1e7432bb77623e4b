// What several kernels of the CPU device compute on vectors.

/** Sum of the four elements of a vector. */
// @ts-ignore: decorator
@inline
export function sum4(x: v128): f32 {
  const pairs = f32x4.add(x, v128.shuffle<f32>(x, x, 2, 3, 0, 1));
  return f32x4.extract_lane(pairs, 0) + f32x4.extract_lane(pairs, 1);
}

/** Four halves in the low bits of 32-bit elements as floats; infinities and NaN become large numbers. */
// @ts-ignore: decorator
@inline
export function halves4(bits: v128): v128 {
  const magnitude = i32x4.shl(v128.and(bits, i32x4.splat(0x7fff)), 13);
  const sign = i32x4.shl(v128.and(bits, i32x4.splat(0x8000)), 16);
  // 2^112: the exponents of halves are biased by 15, those of floats by 127; subnormals come out right as well.
  const value = f32x4.mul(magnitude, f32x4.splat(5192296858534827628530496329220096.0));
  return v128.or(value, sign);
}
