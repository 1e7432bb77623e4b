// Products with f16 weights. See f16.ts.

import { look_up_floats, Embedding } from "./embedding";
import { multiply_float_row, multiply_float_rows } from "./floats";
import { Matmul } from "./matmul";
import { upper_halves4 } from "./simd";

/** 16-bit floats. */
@unmanaged
class F16 {
  // @ts-ignore: decorator
  @inline
  block_bytes(): usize {
    return 512;
  }

  // @ts-ignore: decorator
  @inline
  load(values: usize, quad: usize, row: usize): v128 {
    const zero = i16x8.splat(0), words = v128.load(values + 16 * row);
    const bits = quad == 0
      ? v128.shuffle<i16>(zero, words, 0, 8, 1, 9, 2, 10, 3, 11)
      : v128.shuffle<i16>(zero, words, 4, 12, 5, 13, 6, 14, 7, 15);
    return upper_halves4(bits);
  }
}

export function matmul_row_f16(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_float_row<F16>(args, first, last);
}

export function matmul_rows_f16(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_float_rows<F16>(args, first, last, thread);
}

export function embedding_f16(args: Embedding, first: u32, last: u32, thread: u32): void {
  look_up_floats<F16>(args, first, last, thread);
}
