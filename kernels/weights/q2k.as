// Products with q2k weights. See q2k.ts.

import { byte_products } from "./affine";
import { Embedding, look_up } from "./embedding";
import {
  add_scaled,
  Matmul,
  multiply_row,
  multiply_rows,
  PAIRS,
  SMALL,
  SUPER_SCALES,
  TWO_MINIMA,
  TWO_SCALES,
} from "./matmul";
import { int8_multiply } from "./matmul_int8";
import { far_words, near_words, pairs4, store_quad } from "./two_bits";

/** 2 bits in super-blocks, a scale and a minimum for each 16 weights. */
@unmanaged
class Q2K {
  // @ts-ignore: decorator
  @inline
  traits(): u32 {
    return PAIRS | SMALL | SUPER_SCALES | TWO_MINIMA | TWO_SCALES;
  }

  // @ts-ignore: decorator
  @inline
  scale(words: v128): v128 {
    return f32x4.convert_i32x4_s(v128.and(words, i32x4.splat(255)));
  }

  // @ts-ignore: decorator
  @inline
  second(words: v128): v128 {
    return f32x4.convert_i32x4_s(v128.and(i32x4.shr_u(words, 8), i32x4.splat(255)));
  }

  // @ts-ignore: decorator
  @inline
  add(sums: v128, scale: v128, second: v128, values: usize, high: usize, x: usize): v128 {
    const sum = add_scaled(sums, scale, half_products(near_words(values), x), x);
    return add_scaled(sum, second, half_products(far_words(values), x + 32), x);
  }

  // @ts-ignore: decorator
  @inline
  unpack(values: usize, high: usize, target: usize): void {
    store_half(near_words(values), target);
    store_half(far_words(values), target + 256);
  }

  // @ts-ignore: decorator
  @inline
  unpack_bytes(values: usize, high: usize, target: usize): void {
    const near = near_words(values), far = far_words(values);
    v128.store(target, pairs4(near));
    v128.store(target, pairs4(i32x4.shr_u(near, 2)), 32);
    v128.store(target, pairs4(i32x4.shr_u(near, 4)), 64);
    v128.store(target, pairs4(i32x4.shr_u(near, 6)), 96);
    v128.store(target, pairs4(far), 128);
    v128.store(target, pairs4(i32x4.shr_u(far, 2)), 160);
    v128.store(target, pairs4(i32x4.shr_u(far, 4)), 192);
    v128.store(target, pairs4(i32x4.shr_u(far, 6)), 224);
  }
}

/** Products of 16 columns of four rows. */
// @ts-ignore: decorator
@inline
function half_products(words: v128, x: usize): v128 {
  return i32x4.add(
    i32x4.add(
      byte_products(pairs4(words), x),
      byte_products(pairs4(i32x4.shr_u(words, 2)), x + 4),
    ),
    i32x4.add(
      byte_products(pairs4(i32x4.shr_u(words, 4)), x + 8),
      byte_products(pairs4(i32x4.shr_u(words, 6)), x + 12),
    ),
  );
}

// @ts-ignore: decorator
@inline
function store_half(words: v128, target: usize): void {
  const none = i16x8.splat(0);
  store_quad(target, pairs4(words), none);
  store_quad(target + 32, pairs4(i32x4.shr_u(words, 2)), none);
  store_quad(target + 64, pairs4(i32x4.shr_u(words, 4)), none);
  store_quad(target + 96, pairs4(i32x4.shr_u(words, 6)), none);
}

export function matmul_row_q2k(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_row<Q2K>(args, first, last);
}

export function matmul_rows_q2k(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_rows<Q2K>(args, first, last, thread);
}

export function embedding_q2k(args: Embedding, first: u32, last: u32, thread: u32): void {
  look_up<Q2K>(args, first, last, thread);
}

export function int8_q2k(args: Matmul, first: u32, last: u32, thread: u32): void {
  int8_multiply<Q2K>(args, first, last, thread);
}
