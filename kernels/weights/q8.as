// Products with q8 weights. See q8.ts.

import { Embedding, look_up } from "./embedding";
import { add_scaled, BYTES, Matmul, multiply_row, multiply_rows } from "./matmul";
import { row_of_bytes, unpack_columns } from "./signed_bytes";
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

/** Unpacks 16 columns of four rows. */
// @ts-ignore: decorator
@inline
function unpack_vector(values: usize, target: usize): void {
  unpack_columns(
    v128.load(values),
    v128.load(values, 16),
    v128.load(values, 32),
    v128.load(values, 48),
    target,
  );
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

export function matmul_row_q8(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_row<Q8>(args, first, last);
}

export function matmul_rows_q8(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_rows<Q8>(args, first, last, thread);
}

export function embedding_q8(args: Embedding, first: u32, last: u32, thread: u32): void {
  look_up<Q8>(args, first, last, thread);
}
