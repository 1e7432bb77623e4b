// Shared by formats with a scale for each 16 weights, a small integer times a half. See two_scales.ts.

import { steady_halves4 } from "./simd";

/** Scales of columns 0 to 15 of four rows. */
// @ts-ignore: decorator
@inline
export function near_scales(words: v128): v128 {
  return scale_at(i32x4.shl(words, 24), words);
}

/** Scales of columns 16 to 31 of four rows. */
// @ts-ignore: decorator
@inline
export function far_scales(words: v128): v128 {
  return scale_at(i32x4.shl(words, 16), words);
}

/** A signed byte at the top of a word times the half of the plane's word. */
// @ts-ignore: decorator
@inline
function scale_at(byte: v128, words: v128): v128 {
  return f32x4.mul(f32x4.convert_i32x4_s(i32x4.shr_s(byte, 24)), steady_halves4(words));
}
