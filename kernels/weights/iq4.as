// Products with iq4 weights. See iq4.ts.

import { code_products, unpack_codes } from "./codebook";
import { Embedding, look_up } from "./embedding";
import { add_scaled, Matmul, multiply_row, multiply_rows } from "./matmul";

// prettier-ignore
const TABLE = memory.data<i8>([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], 16);

/** 4 bits for integers of a table. */
@unmanaged
class IQ4 {
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
}

export function matmul_row_iq4(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_row<IQ4>(args, first, last);
}

export function matmul_rows_iq4(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_rows<IQ4>(args, first, last, thread);
}

export function embedding_iq4(args: Embedding, first: u32, last: u32, thread: u32): void {
  look_up<IQ4>(args, first, last, thread);
}
