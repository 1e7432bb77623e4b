// Shared by formats of 4 and 5 bits with scales and minima. See affine.ts.

import { sums4 } from "./simd";
import { transposed } from "./matmul";

// Constants lie in memory because V8 makes those of the code anew, by several instructions, wherever they are used.
// prettier-ignore
const MASKS = memory.data<u32>([
  0x000f000f, 0x000f000f, 0x000f000f, 0x000f000f,
  0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f,
  0x00ff00ff, 0x00ff00ff, 0x00ff00ff, 0x00ff00ff,
  0x10101010, 0x10101010, 0x10101010, 0x10101010,
], 16);

/** Products of four rows of nibbles with the activations of a block. */
// @ts-ignore: decorator
@inline
export function nibble_products(values: usize, x: usize): v128 {
  const mask = v128.load(MASKS);
  return sums4(
    row_of_nibbles(v128.load(values), x, mask),
    row_of_nibbles(v128.load(values, 16), x, mask),
    row_of_nibbles(v128.load(values, 32), x, mask),
    row_of_nibbles(v128.load(values, 48), x, mask),
  );
}

// @ts-ignore: decorator
@inline
function row_of_nibbles(nibbles: v128, x: usize, mask: v128): v128 {
  return sum_of_four(
    i32x4.dot_i16x8_s(v128.and(nibbles, mask), v128.load(x)),
    i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(nibbles, 8), mask), v128.load(x, 16)),
    i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(nibbles, 4), mask), v128.load(x, 32)),
    i32x4.dot_i16x8_s(i16x8.shr_u(nibbles, 12), v128.load(x, 48)),
  );
}

// @ts-ignore: decorator
@inline
function sum_of_four(a: v128, b: v128, c: v128, d: v128): v128 {
  return i32x4.add(i32x4.add(a, b), i32x4.add(c, d));
}

/**
 * Products of four rows of nibbles and fifth bits with the activations of a block. Words of four rows lie in a vector, so
 * that a shift moves the bits of all.
 */
// @ts-ignore: decorator
@inline
export function five_bit_products(values: usize, high: usize, x: usize): v128 {
  const a = v128.load(values), b = v128.load(values, 16);
  const c = v128.load(values, 32), d = v128.load(values, 48);
  const bits = v128.load(high), fifth = v128.load(MASKS, 48);
  return sum_of_four(
    word_products(
      transposed(a, b, c, d, 0),
      v128.and(i32x4.shl(bits, 4), fifth),
      v128.and(bits, fifth),
      x,
    ),
    word_products(
      transposed(a, b, c, d, 1),
      v128.and(i32x4.shl(bits, 3), fifth),
      v128.and(i32x4.shr_u(bits, 1), fifth),
      x + 4,
    ),
    word_products(
      transposed(a, b, c, d, 2),
      v128.and(i32x4.shl(bits, 2), fifth),
      v128.and(i32x4.shr_u(bits, 2), fifth),
      x + 8,
    ),
    word_products(
      transposed(a, b, c, d, 3),
      v128.and(i32x4.shl(bits, 1), fifth),
      v128.and(i32x4.shr_u(bits, 3), fifth),
      x + 12,
    ),
  );
}

/** Products of a word of four rows, given the bits above its low and its upper nibbles. */
// @ts-ignore: decorator
@inline
function word_products(nibbles: v128, near: v128, far: v128, x: usize): v128 {
  const mask = v128.load(MASKS, 16);
  return i32x4.add(
    byte_products(v128.or(v128.and(nibbles, mask), near), x),
    byte_products(v128.or(v128.and(i16x8.shr_u(nibbles, 4), mask), far), x + 32),
  );
}

/** Products of four columns of four rows, given as bytes. */
// @ts-ignore: decorator
@inline
export function byte_products(bytes: v128, x: usize): v128 {
  return i32x4.add(
    i32x4.dot_i16x8_s(v128.and(bytes, v128.load(MASKS, 32)), v128.load32_splat(x)),
    i32x4.dot_i16x8_s(i16x8.shr_u(bytes, 8), v128.load32_splat(x, 16)),
  );
}

/** Unpacks the nibbles of four rows; see matmul.as. */
// @ts-ignore: decorator
@inline
export function unpack_nibbles(values: usize, target: usize): void {
  const a = v128.load(values), b = v128.load(values, 16);
  const c = v128.load(values, 32), d = v128.load(values, 48);
  unpack_word(transposed(a, b, c, d, 0), target);
  unpack_word(transposed(a, b, c, d, 1), target + 32);
  unpack_word(transposed(a, b, c, d, 2), target + 64);
  unpack_word(transposed(a, b, c, d, 3), target + 96);
}

// @ts-ignore: decorator
@inline
function unpack_word(nibbles: v128, target: usize): void {
  const mask = v128.load(MASKS);
  v128.store(target, v128.and(nibbles, mask));
  v128.store(target, v128.and(i16x8.shr_u(nibbles, 8), mask), 128);
  v128.store(target, v128.and(i16x8.shr_u(nibbles, 4), mask), 256);
  v128.store(target, i16x8.shr_u(nibbles, 12), 384);
}

/** Unpacks the nibbles and fifth bits of four rows. */
// @ts-ignore: decorator
@inline
export function unpack_five_bits(values: usize, high: usize, target: usize): void {
  const a = v128.load(values), b = v128.load(values, 16);
  const c = v128.load(values, 32), d = v128.load(values, 48);
  const bits = v128.load(high);
  const mask = v128.load(MASKS, 48);
  store_bytes(
    target,
    transposed(a, b, c, d, 0),
    v128.and(i32x4.shl(bits, 4), mask),
    v128.and(bits, mask),
  );
  store_bytes(
    target + 32,
    transposed(a, b, c, d, 1),
    v128.and(i32x4.shl(bits, 3), mask),
    v128.and(i32x4.shr_u(bits, 1), mask),
  );
  store_bytes(
    target + 64,
    transposed(a, b, c, d, 2),
    v128.and(i32x4.shl(bits, 2), mask),
    v128.and(i32x4.shr_u(bits, 2), mask),
  );
  store_bytes(
    target + 96,
    transposed(a, b, c, d, 3),
    v128.and(i32x4.shl(bits, 1), mask),
    v128.and(i32x4.shr_u(bits, 3), mask),
  );
}

/** Stores a word of each of four rows, given the bits above its low and its upper nibbles. */
// @ts-ignore: decorator
@inline
function store_bytes(target: usize, nibbles: v128, near: v128, far: v128): void {
  const low = v128.or(v128.and(nibbles, v128.load(MASKS, 16)), near);
  const upper = v128.or(v128.and(i16x8.shr_u(nibbles, 4), v128.load(MASKS, 16)), far);
  v128.store(target, v128.and(low, v128.load(MASKS, 32)));
  v128.store(target, i16x8.shr_u(low, 8), 128);
  v128.store(target, v128.and(upper, v128.load(MASKS, 32)), 256);
  v128.store(target, i16x8.shr_u(upper, 8), 384);
}

/** Unpacks the nibbles of four rows to bytes; see matmul_int8.as. */
// @ts-ignore: decorator
@inline
export function unpack_nibble_bytes(values: usize, target: usize): void {
  const a = v128.load(values), b = v128.load(values, 16);
  const c = v128.load(values, 32), d = v128.load(values, 48);
  const none = i32x4.splat(0);
  store_quads(target, transposed(a, b, c, d, 0), none, none);
  store_quads(target + 32, transposed(a, b, c, d, 1), none, none);
  store_quads(target + 64, transposed(a, b, c, d, 2), none, none);
  store_quads(target + 96, transposed(a, b, c, d, 3), none, none);
}

/** Unpacks the nibbles and fifth bits of four rows to bytes. */
// @ts-ignore: decorator
@inline
export function unpack_five_bit_bytes(values: usize, high: usize, target: usize): void {
  const a = v128.load(values), b = v128.load(values, 16);
  const c = v128.load(values, 32), d = v128.load(values, 48);
  const bits = v128.load(high), mask = v128.load(MASKS, 48);
  store_quads(
    target,
    transposed(a, b, c, d, 0),
    v128.and(i32x4.shl(bits, 4), mask),
    v128.and(bits, mask),
  );
  store_quads(
    target + 32,
    transposed(a, b, c, d, 1),
    v128.and(i32x4.shl(bits, 3), mask),
    v128.and(i32x4.shr_u(bits, 1), mask),
  );
  store_quads(
    target + 64,
    transposed(a, b, c, d, 2),
    v128.and(i32x4.shl(bits, 2), mask),
    v128.and(i32x4.shr_u(bits, 2), mask),
  );
  store_quads(
    target + 96,
    transposed(a, b, c, d, 3),
    v128.and(i32x4.shl(bits, 1), mask),
    v128.and(i32x4.shr_u(bits, 3), mask),
  );
}

/** Stores the two quads of a word of four rows, given the bits above its low and its upper nibbles. */
// @ts-ignore: decorator
@inline
function store_quads(target: usize, nibbles: v128, near: v128, far: v128): void {
  const mask = v128.load(MASKS, 16);
  v128.store(target, v128.or(v128.and(nibbles, mask), near));
  v128.store(target, v128.or(v128.and(i16x8.shr_u(nibbles, 4), mask), far), 128);
}
