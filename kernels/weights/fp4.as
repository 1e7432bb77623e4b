// Products with fp4 weights. See fp4.ts.

import { code_products, unpack_code_bytes, unpack_codes } from "./codebook";
import { Embedding, look_up } from "./embedding";
import { add_scaled, Matmul, multiply_row, multiply_rows } from "./matmul";
import { int8_multiply } from "./matmul_int8";

// prettier-ignore
const TABLE = memory.data<i8>([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], 16);

/** The same and 12 more, without a sign. */
// prettier-ignore
const SHIFTED = memory.data<u8>([12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0], 16);

/** Floats of 4 bits times a power of two; twice their values. */
@unmanaged
class FP4 {
  // @ts-ignore: decorator
  @inline
  traits(): u32 {
    return 0;
  }

  // @ts-ignore: decorator
  @inline
  scale(words: v128): v128 {
    return words;
  }

  // @ts-ignore: decorator
  @inline
  second(words: v128): v128 {
    return words;
  }

  // @ts-ignore: decorator
  @inline
  add(sums: v128, scale: v128, second: v128, values: usize, high: usize, x: usize): v128 {
    return add_scaled(sums, scale, code_products(values, x, v128.load(TABLE)), x);
  }

  // @ts-ignore: decorator
  @inline
  unpack(values: usize, high: usize, target: usize): void {
    unpack_codes(values, v128.load(TABLE), target);
  }

  // @ts-ignore: decorator
  @inline
  unpack_bytes(values: usize, high: usize, target: usize): void {
    unpack_code_bytes(values, v128.load(SHIFTED), target);
  }

  // @ts-ignore: decorator
  @inline
  offset(sums: v128): v128 {
    // 12 times the sums, which lie there 32 times.
    return i32x4.add(i32x4.shr_s(sums, 2), i32x4.shr_s(sums, 3));
  }
}

export function matmul_row_fp4(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_row<FP4>(args, first, last);
}

export function matmul_rows_fp4(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_rows<FP4>(args, first, last, thread);
}

export function embedding_fp4(args: Embedding, first: u32, last: u32, thread: u32): void {
  look_up<FP4>(args, first, last, thread);
}

export function int8_fp4(args: Matmul, first: u32, last: u32, thread: u32): void {
  int8_multiply<FP4>(args, first, last, thread);
}
