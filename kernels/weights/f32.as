// Products with f32 weights. See f32.ts.

import { look_up_floats, Embedding } from "./embedding";
import { multiply_float_row, multiply_float_rows } from "./floats";
import { Matmul } from "./matmul";

/** 32-bit floats. */
@unmanaged
class F32 {
  // @ts-ignore: decorator
  @inline
  block_bytes(): usize {
    return 1024;
  }

  // @ts-ignore: decorator
  @inline
  load(values: usize, quad: usize, row: usize): v128 {
    return v128.load(values + 128 * quad + 16 * row);
  }
}

export function matmul_row_f32(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_float_row<F32>(args, first, last);
}

export function matmul_rows_f32(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_float_rows<F32>(args, first, last, thread);
}

export function embedding_f32(args: Embedding, first: u32, last: u32, thread: u32): void {
  look_up_floats<F32>(args, first, last, thread);
}
