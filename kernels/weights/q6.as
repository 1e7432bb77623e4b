// Products with q6 weights. See q6.ts.

import { byte_products } from "./affine";
import { Embedding, look_up } from "./embedding";
import { add_scaled, HIGH_WORDS, Matmul, multiply_row, multiply_rows, transposed, TWO_SCALES } from "./matmul";
import { sums4, upper_halves4 } from "./simd";

// prettier-ignore
const MASKS = memory.data<u32>([
  0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f,
  0x00ff00ff, 0x00ff00ff, 0x00ff00ff, 0x00ff00ff,
], 16);

/** Places of pairs of bits of four words of columns in their word, and what moves them to bits 6 and 7. */
// prettier-ignore
const PAIRS = memory.data<u32>([
  0x03030303, 0x0c0c0c0c, 0x30303030, 0xc0c0c0c0,
  0x00400040, 0x00100010, 0x00040004, 0x00010001,
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
    return scale_at(i32x4.shl(words, 24), words);
  }

  // @ts-ignore: decorator
  @inline
  second(words: v128): v128 {
    return scale_at(i32x4.shl(words, 16), words);
  }

  // @ts-ignore: decorator
  @inline
  add(sums: v128, scale: v128, second: v128, values: usize, high: usize, x: usize): v128 {
    const near = sums4(
      near16(v128.load(values), v128.load32_splat(high), x),
      near16(v128.load(values, 16), v128.load32_splat(high, 8), x),
      near16(v128.load(values, 32), v128.load32_splat(high, 16), x),
      near16(v128.load(values, 48), v128.load32_splat(high, 24), x),
    );
    const far = sums4(
      far16(v128.load(values), v128.load32_splat(high, 4), x + 32),
      far16(v128.load(values, 16), v128.load32_splat(high, 12), x + 32),
      far16(v128.load(values, 32), v128.load32_splat(high, 20), x + 32),
      far16(v128.load(values, 48), v128.load32_splat(high, 28), x + 32),
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
}

/** Scale of 16 columns: a signed byte at the top of a word times the half of the plane's word. */
// @ts-ignore: decorator
@inline
function scale_at(byte: v128, words: v128): v128 {
  return f32x4.mul(f32x4.convert_i32x4_s(i32x4.shr_s(byte, 24)), upper_halves4(words));
}

/** Products of columns 0 to 15 of a row. */
// @ts-ignore: decorator
@inline
function near16(nibbles: v128, bits: v128, x: usize): v128 {
  const low = v128.and(nibbles, v128.load(MASKS));
  return byte_products(v128.or(low, upper_bits(bits)), x, v128.load(MASKS, 16));
}

/** Products of columns 16 to 31 of a row. */
// @ts-ignore: decorator
@inline
function far16(nibbles: v128, bits: v128, x: usize): v128 {
  const low = v128.and(i16x8.shr_u(nibbles, 4), v128.load(MASKS));
  return byte_products(v128.or(low, upper_bits(bits)), x, v128.load(MASKS, 16));
}

/** Bits 4 and 5 of the weights of 16 columns, from bits 2q and 2q + 1 of each byte for word q. */
// @ts-ignore: decorator
@inline
function upper_bits(bits: v128): v128 {
  const moved = i16x8.mul(v128.and(bits, v128.load(PAIRS)), v128.load(PAIRS, 16));
  return i16x8.shr_u(moved, 2);
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

export function matmul_row_q6(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_row<Q6>(args, first, last);
}

export function matmul_rows_q6(args: Matmul, first: u32, last: u32, thread: u32): void {
  multiply_rows<Q6>(args, first, last, thread);
}

export function embedding_q6(args: Embedding, first: u32, last: u32, thread: u32): void {
  look_up<Q6>(args, first, last, thread);
}
