// Products with q3 weights. See q3.ts.

import { byte_products } from "./affine";
import { Embedding, look_up } from "./embedding";
import { add_scaled, HIGH_WORD, Matmul, multiply_row, multiply_rows, PAIRS, SMALL, TWO_SCALES } from "./matmul";
import { int8_multiply } from "./matmul_int8";
import { far_words, near_words, pairs4, store_quad } from "./two_bits";
import { far_scales, near_scales } from "./two_scales";

// prettier-ignore
const THIRD = memory.data<u32>([0x04040404, 0x04040404, 0x04040404, 0x04040404], 16);

/** 3 bits, a scale for each 16 weights. */
@unmanaged
class Q3 {
  // @ts-ignore: decorator
  @inline
  traits(): u32 {
    return HIGH_WORD | PAIRS | SMALL | TWO_SCALES;
  }

  // @ts-ignore: decorator
  @inline
  scale(words: v128): v128 {
    return near_scales(words);
  }

  // @ts-ignore: decorator
  @inline
  second(words: v128): v128 {
    return far_scales(words);
  }

  // @ts-ignore: decorator
  @inline
  add(sums: v128, scale: v128, second: v128, values: usize, high: usize, x: usize): v128 {
    const w = near_words(values), v = far_words(values), bits = v128.load(high);
    const near = i32x4.add(
      i32x4.add(
        byte_products(joined(w, i32x4.shl(bits, 2)), x),
        byte_products(joined(i32x4.shr_u(w, 2), i32x4.shl(bits, 1)), x + 4),
      ),
      i32x4.add(
        byte_products(joined(i32x4.shr_u(w, 4), bits), x + 8),
        byte_products(joined(i32x4.shr_u(w, 6), i32x4.shr_u(bits, 1)), x + 12),
      ),
    );
    const far = i32x4.add(
      i32x4.add(
        byte_products(joined(v, i32x4.shr_u(bits, 2)), x + 32),
        byte_products(joined(i32x4.shr_u(v, 2), i32x4.shr_u(bits, 3)), x + 36),
      ),
      i32x4.add(
        byte_products(joined(i32x4.shr_u(v, 4), i32x4.shr_u(bits, 4)), x + 40),
        byte_products(joined(i32x4.shr_u(v, 6), i32x4.shr_u(bits, 5)), x + 44),
      ),
    );
    // 4 times the sums of the activations, which lie there 32 times.
    const near4 = i32x4.shr_s(v128.load32_splat(x, 72), 3);
    const far4 = i32x4.shr_s(v128.load32_splat(x, 76), 3);
    const sum = add_scaled(sums, scale, i32x4.sub(near, near4), x);
    return add_scaled(sum, second, i32x4.sub(far, far4), x);
  }

  // @ts-ignore: decorator
  @inline
  unpack(values: usize, high: usize, target: usize): void {
    const w = near_words(values), v = far_words(values), bits = v128.load(high);
    const offset = i16x8.splat(4);
    store_quad(target, joined(w, i32x4.shl(bits, 2)), offset);
    store_quad(target + 32, joined(i32x4.shr_u(w, 2), i32x4.shl(bits, 1)), offset);
    store_quad(target + 64, joined(i32x4.shr_u(w, 4), bits), offset);
    store_quad(target + 96, joined(i32x4.shr_u(w, 6), i32x4.shr_u(bits, 1)), offset);
    store_quad(target + 256, joined(v, i32x4.shr_u(bits, 2)), offset);
    store_quad(target + 288, joined(i32x4.shr_u(v, 2), i32x4.shr_u(bits, 3)), offset);
    store_quad(target + 320, joined(i32x4.shr_u(v, 4), i32x4.shr_u(bits, 4)), offset);
    store_quad(target + 352, joined(i32x4.shr_u(v, 6), i32x4.shr_u(bits, 5)), offset);
  }

  // @ts-ignore: decorator
  @inline
  unpack_bytes(values: usize, high: usize, target: usize): void {
    const w = near_words(values), v = far_words(values), bits = v128.load(high);
    v128.store(target, joined(w, i32x4.shl(bits, 2)));
    v128.store(target, joined(i32x4.shr_u(w, 2), i32x4.shl(bits, 1)), 32);
    v128.store(target, joined(i32x4.shr_u(w, 4), bits), 64);
    v128.store(target, joined(i32x4.shr_u(w, 6), i32x4.shr_u(bits, 1)), 96);
    v128.store(target, joined(v, i32x4.shr_u(bits, 2)), 128);
    v128.store(target, joined(i32x4.shr_u(v, 2), i32x4.shr_u(bits, 3)), 160);
    v128.store(target, joined(i32x4.shr_u(v, 4), i32x4.shr_u(bits, 4)), 192);
    v128.store(target, joined(i32x4.shr_u(v, 6), i32x4.shr_u(bits, 5)), 224);
  }

  // @ts-ignore: decorator
  @inline
  offset(sums: v128): v128 {
    // 4 times the sums, which lie there 32 times.
    return i32x4.shr_s(sums, 3);
  }
}

/** Integers of a quad of four rows as bytes: pairs in the lowest bits of `words`, third bits in the third of `bits`. */
// @ts-ignore: decorator
@inline
function joined(words: v128, bits: v128): v128 {
  return v128.or(pairs4(words), v128.and(bits, v128.load(THIRD)));
}

export function matmul_row_q3(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_row<Q3>(args, first, last);
}

export function matmul_rows_q3(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_rows<Q3>(args, first, last, thread);
}

export function embedding_q3(args: Embedding, first: u32, last: u32, thread: u32): void {
  look_up<Q3>(args, first, last, thread);
}

export function int8_q3(args: Matmul, first: u32, last: u32, thread: u32): void {
  int8_multiply<Q3>(args, first, last, thread);
}
