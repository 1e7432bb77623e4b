// Products with q8 weights. See q8.ts.

import { Embedding, look_up } from "./embedding";
import { add_scaled, BYTES, Matmul, multiply_row, multiply_rows, transposed } from "./matmul";
import { halves4, sums4 } from "./simd";

/** 8 bits and scale. */
@unmanaged
class Q8 {
  // @ts-ignore: decorator
  @inline
  traits(): u32 {
    return BYTES;
  }

  // @ts-ignore: decorator
  @inline
  scale(words: v128): v128 {
    return halves4(words);
  }

  // @ts-ignore: decorator
  @inline
  second(words: v128): v128 {
    return words;
  }

  // @ts-ignore: decorator
  @inline
  add(sums: v128, scale: v128, second: v128, values: usize, high: usize, x: usize): v128 {
    return add_scaled(sums, scale, byte_products(values, x), x);
  }

  // @ts-ignore: decorator
  @inline
  unpack(values: usize, high: usize, target: usize): void {
    unpack_vector(values, target);
    unpack_vector(values + 128, target + 256);
  }
}

/** Products of four rows with the activations of a block. */
// @ts-ignore: decorator
@inline
function byte_products(values: usize, x: usize): v128 {
  return sums4(
    row_of_bytes(v128.load(values), v128.load(values, 128), x),
    row_of_bytes(v128.load(values, 16), v128.load(values, 144), x),
    row_of_bytes(v128.load(values, 32), v128.load(values, 160), x),
    row_of_bytes(v128.load(values, 48), v128.load(values, 176), x),
  );
}

// @ts-ignore: decorator
@inline
function row_of_bytes(near: v128, far: v128, x: usize): v128 {
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
function unpack_vector(values: usize, target: usize): void {
  const a = v128.load(values), b = v128.load(values, 16);
  const c = v128.load(values, 32), d = v128.load(values, 48);
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

export function matmul_row_q8(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_row<Q8>(args, first, last);
}

export function matmul_rows_q8(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_rows<Q8>(args, first, last, thread);
}

export function embedding_q8(args: Embedding, first: u32, last: u32, thread: u32): void {
  look_up<Q8>(args, first, last, thread);
}
