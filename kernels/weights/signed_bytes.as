// Shared by formats whose weights are signed bytes, in memory or looked up in a table.

import { transposed } from "./matmul";

/** Products of a row of 32 signed bytes with the activations of a block. */
// @ts-ignore: decorator
@inline
export function row_of_bytes(near: v128, far: v128, x: usize): v128 {
  return i32x4.add(vector_products(near, x), vector_products(far, x + 32));
}

// @ts-ignore: decorator
@inline
function vector_products(bytes: v128, x: usize): v128 {
  return i32x4.add(
    i32x4.dot_i16x8_s(i16x8.shr_s(i16x8.shl(bytes, 8), 8), v128.load(x)),
    i32x4.dot_i16x8_s(i16x8.shr_s(bytes, 8), v128.load(x, 16)),
  );
}

/** Unpacks 16 columns of four rows. */
// @ts-ignore: decorator
@inline
export function unpack_columns(a: v128, b: v128, c: v128, d: v128, target: usize): void {
  unpack_word(transposed(a, b, c, d, 0), target);
  unpack_word(transposed(a, b, c, d, 1), target + 32);
  unpack_word(transposed(a, b, c, d, 2), target + 64);
  unpack_word(transposed(a, b, c, d, 3), target + 96);
}

// @ts-ignore: decorator
@inline
function unpack_word(bytes: v128, target: usize): void {
  v128.store(target, i16x8.shr_s(i16x8.shl(bytes, 8), 8));
  v128.store(target, i16x8.shr_s(bytes, 8), 128);
}
