// Products with f16 weights. See f16.ts.

import { look_up_floats, Embedding } from "./embedding";
import { multiply_float_row, multiply_float_rows } from "./floats";
import { Matmul } from "./matmul";
import { first_halves4, last_halves4 } from "./simd";

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
    const words = v128.load(values + 16 * row);
    return quad == 0 ? first_halves4(words) : last_halves4(words);
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
