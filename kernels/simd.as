// What several kernels of the CPU device compute on vectors.

/** Sum of the four elements of a vector. */
// @ts-ignore: decorator
@inline
export function sum4(x: v128): f32 {
  const pairs = f32x4.add(x, v128.shuffle<f32>(x, x, 2, 3, 0, 1));
  return f32x4.extract_lane(pairs, 0) + f32x4.extract_lane(pairs, 1);
}

// V8 makes constant vectors of the code anew, by several instructions, wherever they are used; it loads these.
// prettier-ignore
const HALVES = memory.data<u32>([
  0x8fffe000, 0x8fffe000, 0x8fffe000, 0x8fffe000,
  0x77800000, 0x77800000, 0x77800000, 0x77800000,
  0x0fffe000, 0x0fffe000, 0x0fffe000, 0x0fffe000,
  0x38000000, 0x38000000, 0x38000000, 0x38000000,
  0x38800000, 0x38800000, 0x38800000, 0x38800000,
  0x80000000, 0x80000000, 0x80000000, 0x80000000,
  0x8fff8fff, 0x8fff8fff, 0x8fff8fff, 0x8fff8fff,
], 16);

// prettier-ignore
const POWERS = memory.data<f32>([
  -127, -127, -127, -127,
  128, 128, 128, 128,
  12582912, 12582912, 12582912, 12582912,
  0.00015353361959569156, 0.00015353361959569156, 0.00015353361959569156, 0.00015353361959569156,
  0.0013398875016719103, 0.0013398875016719103, 0.0013398875016719103, 0.0013398875016719103,
  0.00961843691766262, 0.00961843691766262, 0.00961843691766262, 0.00961843691766262,
  0.055503323674201965, 0.055503323674201965, 0.055503323674201965, 0.055503323674201965,
  0.24022647738456726, 0.24022647738456726, 0.24022647738456726, 0.24022647738456726,
  0.6931471824645996, 0.6931471824645996, 0.6931471824645996, 0.6931471824645996,
  1, 1, 1, 1,
], 16);

/** Four halves in the low bits of 32-bit elements as floats; infinities and NaN become large numbers. */
// @ts-ignore: decorator
@inline
export function halves4(bits: v128): v128 {
  return upper_halves4(i32x4.shl(bits, 16));
}

/** The same of the halves in the upper bits. */
// @ts-ignore: decorator
@inline
export function upper_halves4(bits: v128): v128 {
  const moved = v128.and(i32x4.shr_s(bits, 3), v128.load(HALVES));
  // 2^112: the exponents of halves are biased by 15, those of floats by 127; subnormals come out right as well.
  return f32x4.mul(moved, v128.load(HALVES, 16));
}

/**
 * The same of the halves in the upper bits without arithmetic on subnormal floats, which takes CPUs long: subnormal
 * halves are common among scales of super-blocks.
 */
// @ts-ignore: decorator
@inline
export function steady_halves4(bits: v128): v128 {
  const places = v128.and(i32x4.shr_u(bits, 3), v128.load(HALVES, 32));
  // Subnormal halves lie below 2^-14 and come out as 2^-15 and half of their value.
  const value = i32x4.add(places, v128.load(HALVES, 48));
  const below = f32x4.pmin(f32x4.sub(value, v128.load(HALVES, 64)), f32x4.splat(0));
  return v128.or(f32x4.add(value, below), v128.and(bits, v128.load(HALVES, 80)));
}

/** The first four of eight halves as floats; infinities and NaN become large numbers. */
// @ts-ignore: decorator
@inline
export function first_halves4(words: v128): v128 {
  const lower = i16x8.shl(words, 13), upper = upper_words8(words);
  return f32x4.mul(v128.shuffle<i16>(lower, upper, 0, 8, 1, 9, 2, 10, 3, 11), v128.load(HALVES, 16));
}

/** The last four. */
// @ts-ignore: decorator
@inline
export function last_halves4(words: v128): v128 {
  const lower = i16x8.shl(words, 13), upper = upper_words8(words);
  return f32x4.mul(v128.shuffle<i16>(lower, upper, 4, 12, 5, 13, 6, 14, 7, 15), v128.load(HALVES, 16));
}

/** Upper words of the floats, before the multiplication. */
// @ts-ignore: decorator
@inline
function upper_words8(words: v128): v128 {
  return v128.and(i16x8.shr_s(words, 3), v128.load(HALVES, 96));
}

/** Four floats as halves in the low bits of 32-bit elements, rounded to nearest even; NaN becomes infinity. */
// @ts-ignore: decorator
@inline
export function to_halves4(x: v128): v128 {
  const magnitude = v128.and(x, i32x4.splat(0x7fffffff));
  const sign = v128.and(i32x4.shr_u(x, 16), i32x4.splat(0x8000));
  // Adding 0.5 moves the bits of a subnormal half to the low end and rounds them.
  const subnormal = i32x4.sub(f32x4.add(magnitude, f32x4.splat(0.5)), i32x4.splat(0x3f000000));
  const capped = i32x4.min_u(magnitude, i32x4.splat(0x47800000));
  const odd = v128.and(i32x4.shr_u(capped, 13), i32x4.splat(1));
  const rebiased = i32x4.add(i32x4.sub(capped, i32x4.splat(0x38000000 - 0xfff)), odd);
  const is_normal = i32x4.ge_u(magnitude, i32x4.splat(0x38800000));
  return v128.or(v128.bitselect(i32x4.shr_u(rebiased, 13), subnormal, is_normal), sign);
}

/**
 * Two to the power of each element, with a relative error of at most 2^-22; exactly 1 for 0, 0 below -126.5,
 * infinity from 127.5 on.
 */
// @ts-ignore: decorator
@inline
export function exp2_4(x: v128): v128 {
  const inside = f32x4.pmin(f32x4.pmax(x, v128.load(POWERS)), v128.load(POWERS, 16));
  // Adding 1.5 * 2^23 rounds to an integer, which is then found in the low bits.
  const rounded = f32x4.add(inside, v128.load(POWERS, 32));
  const r = f32x4.sub(inside, f32x4.sub(rounded, v128.load(POWERS, 32)));
  let p = f32x4.add(f32x4.mul(v128.load(POWERS, 48), r), v128.load(POWERS, 64));
  p = f32x4.add(f32x4.mul(p, r), v128.load(POWERS, 80));
  p = f32x4.add(f32x4.mul(p, r), v128.load(POWERS, 96));
  p = f32x4.add(f32x4.mul(p, r), v128.load(POWERS, 112));
  p = f32x4.add(f32x4.mul(p, r), v128.load(POWERS, 128));
  p = f32x4.add(f32x4.mul(p, r), v128.load(POWERS, 144));
  const power = i32x4.add(i32x4.shl(rounded, 23), v128.load(POWERS, 144));
  return f32x4.mul(p, power);
}

/** The same of one number. */
export function exp2_of(x: f32): f32 {
  return f32x4.extract_lane(exp2_4(f32x4.splat(x)), 0);
}

/** Hyperbolic tangent of each element, with an error of at most 2^-22. */
// @ts-ignore: decorator
@inline
export function tanh4(x: v128): v128 {
  const one = f32x4.splat(1);
  const square = exp2_4(f32x4.mul(x, f32x4.splat(2.8853900817779268)));
  return f32x4.sub(one, f32x4.div(f32x4.splat(2), f32x4.add(square, one)));
}

/** Binary logarithm of a positive normal number, with a relative error of the argument of 1e-9. */
export function log2_of(x: f32): f64 {
  const bits = reinterpret<i32>(x);
  // The mantissa m lies between sqrt(1/2) and sqrt(2).
  const exponent = (bits - 0x3f3504f3) >> 23;
  const m = <f64>reinterpret<f32>(bits - (exponent << 23));
  const z = (m - 1) / (m + 1);
  const square = z * z;
  let sum = 1.0 / 11;
  sum = sum * square + 1.0 / 9;
  sum = sum * square + 1.0 / 7;
  sum = sum * square + 1.0 / 5;
  sum = sum * square + 1.0 / 3;
  sum = sum * square + 1;
  return <f64>exponent + 2.8853900817779268 * z * sum;
}

// Shuffles below are those for which V8 has one instruction; others take it three.

/** Sums of the four elements of each of four vectors of integers. */
// @ts-ignore: decorator
@inline
export function sums4(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = i32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = i32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return i32x4.add(v128.shuffle<i64>(ab, cd, 0, 2), v128.shuffle<i64>(ab, cd, 1, 3));
}

/** Sums of the four elements of each of four vectors of floats: (0 + 2) + (1 + 3). */
// @ts-ignore: decorator
@inline
export function float_sums4(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(v128.shuffle<f32>(a, b, 0, 4, 1, 5), v128.shuffle<f32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.add(v128.shuffle<f32>(c, d, 0, 4, 1, 5), v128.shuffle<f32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<i64>(ab, cd, 0, 2), v128.shuffle<i64>(ab, cd, 1, 3));
}
