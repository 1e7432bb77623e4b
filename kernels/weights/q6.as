// Products with q6 weights. See q6.ts.

import { byte_products } from "./affine";
import { Embedding, look_up } from "./embedding";
import { add_scaled, HIGH_WORDS, Matmul, multiply_row, multiply_rows, transposed, TWO_SCALES } from "./matmul";
import { int8_multiply } from "./matmul_int8";
import { far_scales, near_scales } from "./two_scales";

// prettier-ignore
const MASKS = memory.data<u32>([
  0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f,
  0x30303030, 0x30303030, 0x30303030, 0x30303030,
], 16);

/** 6 bits, a scale for each 16 weights. */
@unmanaged
class Q6 {
  // @ts-ignore: decorator
  @inline
  traits(): u32 {
    return HIGH_WORDS | TWO_SCALES;
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
    const a = v128.load(values), b = v128.load(values, 16);
    const c = v128.load(values, 32), d = v128.load(values, 48);
    const e = v128.load(high), f = v128.load(high, 16);
    const bits = v128.shuffle<i32>(e, f, 0, 2, 4, 6), more = v128.shuffle<i32>(e, f, 1, 3, 5, 7);
    const w0 = transposed(a, b, c, d, 0), w1 = transposed(a, b, c, d, 1);
    const w2 = transposed(a, b, c, d, 2), w3 = transposed(a, b, c, d, 3);
    const near = i32x4.add(
      i32x4.add(near4(w0, i32x4.shl(bits, 4), x), near4(w1, i32x4.shl(bits, 2), x + 4)),
      i32x4.add(near4(w2, bits, x + 8), near4(w3, i32x4.shr_u(bits, 2), x + 12)),
    );
    const far = i32x4.add(
      i32x4.add(far4(w0, i32x4.shl(more, 4), x), far4(w1, i32x4.shl(more, 2), x + 4)),
      i32x4.add(far4(w2, more, x + 8), far4(w3, i32x4.shr_u(more, 2), x + 12)),
    );
    const near32 = v128.load32_splat(x, 72), far32 = v128.load32_splat(x, 76);
    const sum = add_scaled(sums, scale, i32x4.sub(near, near32), x);
    return add_scaled(sum, second, i32x4.sub(far, far32), x);
  }

  // @ts-ignore: decorator
  @inline
  unpack(values: usize, high: usize, target: usize): void {
    const a = v128.load(values), b = v128.load(values, 16);
    const c = v128.load(values, 32), d = v128.load(values, 48);
    const e = v128.load(high), f = v128.load(high, 16);
    const near = v128.shuffle<i32>(e, f, 0, 2, 4, 6), far = v128.shuffle<i32>(e, f, 1, 3, 5, 7);
    const mask = i8x16.splat(48);
    store_word(
      target,
      transposed(a, b, c, d, 0),
      v128.and(i32x4.shl(near, 4), mask),
      v128.and(i32x4.shl(far, 4), mask),
    );
    store_word(
      target + 32,
      transposed(a, b, c, d, 1),
      v128.and(i32x4.shl(near, 2), mask),
      v128.and(i32x4.shl(far, 2), mask),
    );
    store_word(
      target + 64,
      transposed(a, b, c, d, 2),
      v128.and(near, mask),
      v128.and(far, mask),
    );
    store_word(
      target + 96,
      transposed(a, b, c, d, 3),
      v128.and(i32x4.shr_u(near, 2), mask),
      v128.and(i32x4.shr_u(far, 2), mask),
    );
  }

  // @ts-ignore: decorator
  @inline
  unpack_bytes(values: usize, high: usize, target: usize): void {
    const a = v128.load(values), b = v128.load(values, 16);
    const c = v128.load(values, 32), d = v128.load(values, 48);
    const e = v128.load(high), f = v128.load(high, 16);
    const near = v128.shuffle<i32>(e, f, 0, 2, 4, 6), far = v128.shuffle<i32>(e, f, 1, 3, 5, 7);
    store_word_bytes(target, transposed(a, b, c, d, 0), i32x4.shl(near, 4), i32x4.shl(far, 4));
    store_word_bytes(target + 32, transposed(a, b, c, d, 1), i32x4.shl(near, 2), i32x4.shl(far, 2));
    store_word_bytes(target + 64, transposed(a, b, c, d, 2), near, far);
    store_word_bytes(
      target + 96,
      transposed(a, b, c, d, 3),
      i32x4.shr_u(near, 2),
      i32x4.shr_u(far, 2),
    );
  }

  // @ts-ignore: decorator
  @inline
  offset(sums: v128): v128 {
    return sums;
  }
}

/** Products of the low nibbles of a word of four rows, with bits that are in place. */
// @ts-ignore: decorator
@inline
function near4(nibbles: v128, bits: v128, x: usize): v128 {
  const low = v128.and(nibbles, v128.load(MASKS));
  return byte_products(v128.or(low, v128.and(bits, v128.load(MASKS, 16))), x);
}

/** Products of the upper nibbles. */
// @ts-ignore: decorator
@inline
function far4(nibbles: v128, bits: v128, x: usize): v128 {
  const low = v128.and(i16x8.shr_u(nibbles, 4), v128.load(MASKS));
  return byte_products(v128.or(low, v128.and(bits, v128.load(MASKS, 16))), x + 32);
}

/** Stores a word of each of four rows, given the bits above its low and its upper nibbles. */
// @ts-ignore: decorator
@inline
function store_word(target: usize, nibbles: v128, near: v128, far: v128): void {
  const low = v128.or(v128.and(nibbles, i8x16.splat(15)), near);
  const upper = v128.or(v128.and(i16x8.shr_u(nibbles, 4), i8x16.splat(15)), far);
  const offset = i16x8.splat(32);
  v128.store(target, i16x8.sub(v128.and(low, i16x8.splat(255)), offset));
  v128.store(target, i16x8.sub(i16x8.shr_u(low, 8), offset), 128);
  v128.store(target, i16x8.sub(v128.and(upper, i16x8.splat(255)), offset), 256);
  v128.store(target, i16x8.sub(i16x8.shr_u(upper, 8), offset), 384);
}

/** Stores a word of each of four rows as bytes, given the bits above its low and its upper nibbles, in place. */
// @ts-ignore: decorator
@inline
function store_word_bytes(target: usize, nibbles: v128, near: v128, far: v128): void {
  const low = v128.load(MASKS), upper = v128.load(MASKS, 16);
  v128.store(target, v128.or(v128.and(nibbles, low), v128.and(near, upper)));
  const fours = v128.and(i16x8.shr_u(nibbles, 4), low);
  v128.store(target, v128.or(fours, v128.and(far, upper)), 128);
}

export function matmul_row_q6(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_row<Q6>(args, first, last);
}

export function matmul_rows_q6(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_rows<Q6>(args, first, last, thread);
}

export function embedding_q6(args: Embedding, first: u32, last: u32, thread: u32): void {
  look_up<Q6>(args, first, last, thread);
}

export function int8_q6(args: Matmul, first: u32, last: u32, thread: u32): void {
  int8_multiply<Q6>(args, first, last, thread);
}
