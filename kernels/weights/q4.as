// Products with q4 weights. See q4.ts.

import { nibble_products, unpack_nibble_bytes, unpack_nibbles } from "./affine";
import { Embedding, look_up } from "./embedding";
import { add_affine, Matmul, MINIMA, multiply_row, multiply_rows, SMALL } from "./matmul";
import { int8_multiply } from "./matmul_int8";
import { halves4, upper_halves4 } from "./simd";

/** 4 bits, scale and minimum. */
@unmanaged
class Q4 {
  // @ts-ignore: decorator
  @inline
  traits(): u32 {
    return MINIMA | SMALL;
  }

  // @ts-ignore: decorator
  @inline
  scale(words: v128): v128 {
    return halves4(words);
  }

  // @ts-ignore: decorator
  @inline
  second(words: v128): v128 {
    return upper_halves4(words);
  }

  // @ts-ignore: decorator
  @inline
  add(sums: v128, scale: v128, second: v128, values: usize, high: usize, x: usize): v128 {
    return add_affine(sums, scale, second, nibble_products(values, x), x);
  }

  // @ts-ignore: decorator
  @inline
  unpack(values: usize, high: usize, target: usize): void {
    unpack_nibbles(values, target);
  }

  // @ts-ignore: decorator
  @inline
  unpack_bytes(values: usize, high: usize, target: usize): void {
    unpack_nibble_bytes(values, target);
  }
}

export function matmul_row_q4(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_row<Q4>(args, first, last);
}

export function matmul_rows_q4(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_rows<Q4>(args, first, last, thread);
}

export function embedding_q4(args: Embedding, first: u32, last: u32, thread: u32): void {
  look_up<Q4>(args, first, last, thread);
}

export function int8_q4(args: Matmul, first: u32, last: u32, thread: u32): void {
  int8_multiply<Q4>(args, first, last, thread);
}
