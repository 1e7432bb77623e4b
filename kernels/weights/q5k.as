// Products with q5k weights. See q5k.ts.

import { five_bit_products, unpack_five_bit_bytes, unpack_five_bits } from "./affine";
import { Embedding, look_up } from "./embedding";
import { add_affine, HIGH_WORD, Matmul, MINIMA, multiply_row, multiply_rows, SUPER_SCALES } from "./matmul";
import { int8_multiply } from "./matmul_int8";
import { halves4, upper_halves4 } from "./simd";

/** 5 bits in super-blocks. */
@unmanaged
class Q5K {
  // @ts-ignore: decorator
  @inline
  traits(): u32 {
    return HIGH_WORD | MINIMA | SUPER_SCALES;
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
    return add_affine(sums, scale, second, five_bit_products(values, high, x), x);
  }

  // @ts-ignore: decorator
  @inline
  unpack(values: usize, high: usize, target: usize): void {
    unpack_five_bits(values, high, target);
  }

  // @ts-ignore: decorator
  @inline
  unpack_bytes(values: usize, high: usize, target: usize): void {
    unpack_five_bit_bytes(values, high, target);
  }
}

export function matmul_row_q5k(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_row<Q5K>(args, first, last);
}

export function matmul_rows_q5k(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_rows<Q5K>(args, first, last, thread);
}

export function embedding_q5k(args: Embedding, first: u32, last: u32, thread: u32): void {
  look_up<Q5K>(args, first, last, thread);
}

export function int8_q5k(args: Matmul, first: u32, last: u32, thread: u32): void {
  int8_multiply<Q5K>(args, first, last, thread);
}
