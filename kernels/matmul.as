// Matrix products of activations and weights. See matmul.ts.
//
// A format of small integers is an unmanaged class without fields whose methods turn bits of a row panel into
// integers of 16 bits and scales; weights/NAME.as has the class and its entries. Activations become integers of 16 bits,
// so that products and sums of a block of 32 columns are exact, and every CPU gets the same bits. Only the sums of blocks
// are floats; they are added in the order of columns, whatever the number of rows, so that a row gets the same bits alone
// and among others.
//
// Quantized activations, for each row and block of 32 columns, 80 bytes:
//   0   32 i16  columns 0 2 .. 14, 1 3 .. 15, 16 18 .. 30, 17 19 .. 31: even and odd bytes of weights unpack by themselves
//   64  f32     scale
//   68  f32     scale times the sum of the integers
//   72  2 i32   32 times the sums of the first and the last 16 integers
//
// Unpacked weights of a row panel, for each block, 576 bytes:
//   0    [16 pairs of columns][8 rows][2] i16, in the order of the activations
//   512  [8] f32  scales
//   544  [8] f32  minima, or scales of columns 16 to 31
//
// and 640 where columns 0 to 15 and 16 to 31 have a scale and a minimum each:
//   576  [8] f32  minima of columns 0 to 15
//   608  [8] f32  minima of columns 16 to 31

import { steady_halves4 } from "./simd";

const ACTIVATION_BYTES: usize = 80;

/** Blocks that are unpacked at a time; with the activations of four rows they stay in the nearest cache. */
const CHUNK_BLOCKS: u32 = 32;

/** Most activation rows of an item. */
export const ITEM_ROWS: u32 = 64;

/** Bytes of the sums of an item, which lie before its unpacked weights. */
const SUM_BYTES: usize = 32 * ITEM_ROWS;

/** Traits of a format: the second float of a scale is a minimum that is added to each weight. */
export const MINIMA: u32 = 1;

/** Scales are multiplied by those of super-blocks. */
export const SUPER_SCALES: u32 = 2;

/** Columns 0 to 15 and 16 to 31 have a scale each. */
export const TWO_SCALES: u32 = 4;

/** 8 bits in the plane of values; those without BYTES or PAIRS have 4. */
export const BYTES: u32 = 8;

/** A word of the plane of high bits for each row and block. */
export const HIGH_WORD: u32 = 16;

/** Two words of it. */
export const HIGH_WORDS: u32 = 32;

/** 2 bits in the plane of values. */
export const PAIRS: u32 = 64;

/** Besides TWO_SCALES, columns 0 to 15 and 16 to 31 have a minimum each; integers are those of the bits. */
export const TWO_MINIMA: u32 = 128;

/** Integers of at most 4 bits, or at most 5 with TWO_SCALES, without a sign; see matmul_int8.as. */
export const SMALL: u32 = 256;

/** Planes of a matrix; 0 for those that its format lacks. */
@unmanaged
export class Planes {
  values: usize;
  scales: usize;
  superScales: usize;
  high: usize;
}

@unmanaged
export class Matmul extends Planes {
  input: usize;
  bias: usize;
  output: usize;
  rows: u32;
  columns: u32;
  input_stride: u32;
  output_stride: u32;
  output_offset: u32;
  weight_rows: u32;
  bias_offset: u32;
  has_bias: u32;
  accumulate: u32;
  factor: f32;
  /** What the largest magnitude of a block of activations becomes: 32767, or 127 for those of 8 bits. */
  largest_integer: f32;
  scratch: usize;
  thread_scratch: usize;
  thread_bytes: u32;
}

/** Quantizes activations; items are blocks of 32 columns. */
export function quantize_activations(args: Matmul, first: u32, last: u32, thread: u32): void {
  const blocks = args.columns / 32;
  for (let item = first; item < last; item++) {
    const row = item / blocks;
    const column = 32 * (item - row * blocks);
    const source = args.input + 4 * (<usize>row * args.input_stride + column);
    quantize_block(source, args.scratch + ACTIVATION_BYTES * item, args.largest_integer);
  }
}

function quantize_block(source: usize, target: usize, largest_integer: f32): void {
  const bits = largest_bits(source);
  const largest = reinterpret<f32>(bits);
  // Below 2^-100 the factor could overflow; such blocks count as zeros.
  const is_zero = largest < 7.888609052210118e-31;
  const factor4 = f32x4.splat(is_zero ? 0 : largest_integer / largest);
  const scale: f32 = bits >= 0x7f800000 ? NaN : is_zero ? 0 : largest / largest_integer;
  const near = i32x4.shl(quantize_half(source, target, factor4), 5);
  const far = i32x4.shl(quantize_half(source + 64, target + 32, factor4), 5);
  const near32 = i32x4.extract_lane(near, 0) + i32x4.extract_lane(near, 1) +
    i32x4.extract_lane(near, 2) + i32x4.extract_lane(near, 3);
  const far32 = i32x4.extract_lane(far, 0) + i32x4.extract_lane(far, 1) +
    i32x4.extract_lane(far, 2) + i32x4.extract_lane(far, 3);
  store<f32>(target, scale, 64);
  store<f32>(target, scale * <f32>((near32 + far32) >> 5), 68);
  store<i32>(target, near32, 72);
  store<i32>(target, far32, 76);
}

/**
 * Bits of the largest magnitude of 32 columns. As integers the magnitudes order like floats, with infinity and NaN above
 * all numbers.
 */
// @ts-ignore: decorator
@inline
export function largest_bits(source: usize): i32 {
  let largest4 = i32x4.splat(0);
  for (let i: usize = 0; i < 128; i += 16) {
    const magnitudes = v128.and(v128.load(source + i), i32x4.splat(0x7fffffff));
    largest4 = i32x4.max_s(largest4, magnitudes);
  }
  largest4 = i32x4.max_s(largest4, v128.shuffle<i32>(largest4, largest4, 2, 3, 0, 1));
  return max(i32x4.extract_lane(largest4, 0), i32x4.extract_lane(largest4, 1));
}

/** Quantizes 16 columns; returns sums of the integers. */
// @ts-ignore: decorator
@inline
function quantize_half(source: usize, target: usize, factor4: v128): v128 {
  const a = integers4(v128.load(source), factor4);
  const b = integers4(v128.load(source, 16), factor4);
  const c = integers4(v128.load(source, 32), factor4);
  const d = integers4(v128.load(source, 48), factor4);
  const even = i16x8.narrow_i32x4_s(
    v128.shuffle<i32>(a, b, 0, 2, 4, 6),
    v128.shuffle<i32>(c, d, 0, 2, 4, 6),
  );
  const odd = i16x8.narrow_i32x4_s(
    v128.shuffle<i32>(a, b, 1, 3, 5, 7),
    v128.shuffle<i32>(c, d, 1, 3, 5, 7),
  );
  v128.store(target, even);
  v128.store(target, odd, 16);
  const ones = i16x8.splat(1);
  return i32x4.add(i32x4.dot_i16x8_s(even, ones), i32x4.dot_i16x8_s(odd, ones));
}

// @ts-ignore: decorator
@inline
export function integers4(values: v128, factor4: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(values, factor4)));
}

/** Bytes of a block of a row panel in the plane of values. */
// @ts-ignore: decorator
@inline
export function value_bytes<Format>(): usize {
  const traits = changetype<Format>(0).traits();
  return traits & BYTES ? 256 : traits & PAIRS ? 64 : 128;
}

/** Bytes from the first to the fifth row of a row panel in the plane of values. */
// @ts-ignore: decorator
@inline
export function value_step<Format>(): usize {
  return changetype<Format>(0).traits() & PAIRS ? 32 : 64;
}

/** Bytes of an unpacked block of a row panel. */
// @ts-ignore: decorator
@inline
function unpacked_bytes<Format>(): usize {
  return changetype<Format>(0).traits() & TWO_MINIMA ? 640 : 576;
}

/** Bytes of a block of a row panel in the plane of high bits. */
// @ts-ignore: decorator
@inline
export function high_bytes<Format>(): usize {
  const traits = changetype<Format>(0).traits();
  return traits & HIGH_WORDS ? 64 : traits & HIGH_WORD ? 32 : 0;
}

// @ts-ignore: decorator
@inline
function scale_of<Format>(words: v128, factors: v128): v128 {
  const format = changetype<Format>(0);
  const scale = format.scale(words);
  return format.traits() & SUPER_SCALES ? f32x4.mul(scale, factors) : scale;
}

// @ts-ignore: decorator
@inline
function second_of<Format>(words: v128, factors: v128): v128 {
  const format = changetype<Format>(0);
  const second = format.second(words);
  return format.traits() & SUPER_SCALES ? f32x4.mul(second, factors) : second;
}

/** Second float of the scales of a super-block, of which minima are multiples, or all scales where there are no minima. */
// @ts-ignore: decorator
@inline
function second_factors<Format>(factors: v128, minima: v128): v128 {
  return changetype<Format>(0).traits() & TWO_MINIMA ? factors : minima;
}

/** Minima of columns 0 to 15, from the third byte of the words of four rows. */
// @ts-ignore: decorator
@inline
function near_minima<Format>(words: v128, minima: v128): v128 {
  const bytes = v128.and(i32x4.shr_u(words, 16), i32x4.splat(255));
  return f32x4.mul(f32x4.convert_i32x4_s(bytes), minima);
}

/** Minima of columns 16 to 31, from the fourth byte. */
// @ts-ignore: decorator
@inline
function far_minima<Format>(words: v128, minima: v128): v128 {
  return f32x4.mul(f32x4.convert_i32x4_s(i32x4.shr_u(words, 24)), minima);
}

/** Adds the minima of both halves of a block times the sums of their activations. */
// @ts-ignore: decorator
@inline
function add_minima(sums: v128, near: v128, far: v128, x: usize): v128 {
  const step = f32x4.mul(v128.load32_splat(x, 64), f32x4.splat(1.0 / 32));
  const near_sum = f32x4.mul(step, f32x4.convert_i32x4_s(v128.load32_splat(x, 72)));
  const far_sum = f32x4.mul(step, f32x4.convert_i32x4_s(v128.load32_splat(x, 76)));
  return f32x4.add(f32x4.add(sums, f32x4.mul(near, near_sum)), f32x4.mul(far, far_sum));
}

/** Blocks that are prefetched at a time. */
export const PREFETCH_BLOCKS: u32 = 8;

/** Where prefetched bits end up, lest the compiler leave the loads out. */
const PREFETCHED = memory.data(64, 64);

/**
 * Loads a word of each cache line of neighboring blocks of a row panel, up to PREFETCH_BLOCKS. A core waits for all of
 * them together; the loads of arithmetic fill its queue before they reach as many lines.
 */
// @ts-ignore: decorator
@inline
export function prefetch<Format>(values: usize, scales: usize, high: usize, blocks: u32): void {
  const count = <usize>min(PREFETCH_BLOCKS, blocks);
  let bits = words_of_lines(values, count * value_bytes<Format>());
  bits |= words_of_lines(scales, count * 32);
  if (high_bytes<Format>() > 0) bits |= words_of_lines(high, count * high_bytes<Format>());
  store<u32>(PREFETCHED, bits);
}

// @ts-ignore: decorator
@inline
function words_of_lines(place: usize, bytes: usize): u32 {
  let bits: u32 = 0;
  for (const end = place + bytes; place < end; place += 64) bits |= load<u32>(place);
  return bits;
}

/** Multiplies one row of activations; items are row panels. */
// @ts-ignore: decorator
@inline
export function multiply_row<Format>(args: Matmul, first: u32, last: u32): void {
  const format = changetype<Format>(0);
  const blocks = args.columns / 32;
  for (let panel = first; panel < last; panel++) {
    const place = <usize>panel * blocks;
    let values = args.values + place * value_bytes<Format>();
    let scales = args.scales + place * 32;
    let high = args.high + place * high_bytes<Format>();
    let superScales = args.superScales + place * 4;
    let factors0 = i32x4.splat(0), factors1 = factors0, minima0 = factors0, minima1 = factors0;
    let sums0 = f32x4.splat(0), sums1 = sums0;
    const end = args.scratch + blocks * ACTIVATION_BYTES;
    for (let x = args.scratch, block = 0; x < end; x += ACTIVATION_BYTES, block++) {
      if ((format.traits() & SUPER_SCALES) && (block & 7) == 0) {
        const words0 = v128.load(superScales), words1 = v128.load(superScales, 16);
        factors0 = steady_halves4(i32x4.shl(words0, 16));
        factors1 = steady_halves4(i32x4.shl(words1, 16));
        minima0 = steady_halves4(words0);
        minima1 = steady_halves4(words1);
        superScales += 32;
      }
      if (block % PREFETCH_BLOCKS == 0) prefetch<Format>(values, scales, high, blocks - block);
      const words0 = v128.load(scales), words1 = v128.load(scales, 16);
      sums0 = format.add(
        sums0,
        scale_of<Format>(words0, factors0),
        second_of<Format>(words0, second_factors<Format>(factors0, minima0)),
        values,
        high,
        x,
      );
      sums1 = format.add(
        sums1,
        scale_of<Format>(words1, factors1),
        second_of<Format>(words1, second_factors<Format>(factors1, minima1)),
        values + value_step<Format>(),
        high + high_bytes<Format>() / 2,
        x,
      );
      if (format.traits() & TWO_MINIMA) {
        sums0 = add_minima(sums0, near_minima<Format>(words0, minima0), far_minima<Format>(words0, minima0), x);
        sums1 = add_minima(sums1, near_minima<Format>(words1, minima1), far_minima<Format>(words1, minima1), x);
      }
      values += value_bytes<Format>();
      scales += 32;
      high += high_bytes<Format>();
    }
    finish(args, 0, panel, sums0, sums1);
  }
}

/** Adds a block with one scale; integers become floats only here, in this order for any number of rows. */
// @ts-ignore: decorator
@inline
export function add_scaled(sums: v128, scale: v128, products: v128, x: usize): v128 {
  const scaled = f32x4.mul(scale, v128.load32_splat(x, 64));
  return f32x4.add(sums, f32x4.mul(scaled, f32x4.convert_i32x4_s(products)));
}

/** Adds a block with scale and minimum. */
// @ts-ignore: decorator
@inline
export function add_affine(sums: v128, scale: v128, minimum: v128, products: v128, x: usize): v128 {
  const sum = add_scaled(sums, scale, products, x);
  return f32x4.add(sum, f32x4.mul(minimum, v128.load32_splat(x, 68)));
}

/** Writes the sums of a row panel: adds the bias, multiplies by the factor, and adds old values. */
// @ts-ignore: decorator
@inline
export function finish(args: Matmul, row: u32, panel: u32, sums0: v128, sums1: v128): void {
  const target = args.output + 4 * (<usize>row * args.output_stride + args.output_offset);
  finish4(args, target, 8 * panel, sums0);
  finish4(args, target, 8 * panel + 4, sums1);
}

function finish4(args: Matmul, target: usize, first: u32, sums: v128): void {
  const output = target + 4 * <usize>first;
  const bias = args.bias + 4 * (<usize>args.bias_offset + first);
  if (first + 4 <= args.weight_rows) {
    if (args.has_bias) sums = f32x4.add(sums, v128.load(bias));
    sums = f32x4.mul(sums, f32x4.splat(args.factor));
    if (args.accumulate) sums = f32x4.add(sums, v128.load(output));
    v128.store(output, sums);
    return;
  }
  for (let row = first; row < args.weight_rows; row++) {
    const place = 4 * <usize>(row - first);
    let sum = f32x4.extract_lane(sums, 0);
    if (args.has_bias) sum += load<f32>(bias + place);
    sum *= args.factor;
    if (args.accumulate) sum += load<f32>(output + place);
    store<f32>(output + place, sum);
    sums = v128.shuffle<f32>(sums, sums, 1, 2, 3, 0);
  }
}

/** Activation rows of an item: all, shared evenly. */
export function rows_of_part(rows: u32): u32 {
  const parts = (rows + ITEM_ROWS - 1) / ITEM_ROWS;
  return ((rows + parts - 1) / parts + 3) & ~3;
}

/** Multiplies several rows of activations; items are row panels times blocks of activation rows. */
// @ts-ignore: decorator
@inline
export function multiply_rows<Format>(args: Matmul, first: u32, last: u32, thread: u32): void {
  const blocks = args.columns / 32;
  const panels = (args.weight_rows + 7) / 8;
  const part_rows = rows_of_part(args.rows);
  const line = <usize>blocks * ACTIVATION_BYTES;
  const sums = args.thread_scratch + <usize>thread * args.thread_bytes;
  const unpacked = sums + SUM_BYTES;
  for (let item = first; item < last; item++) {
    const part = item / panels;
    const panel = item - part * panels;
    const first_row = part * part_rows;
    const rows = min(part_rows, args.rows - first_row);
    memory.fill(sums, 0, 32 * rows);
    for (let block: u32 = 0; block < blocks; block += CHUNK_BLOCKS) {
      const count = min(CHUNK_BLOCKS, blocks - block);
      unpack_blocks<Format>(args, panel * blocks + block, count, unpacked);
      const end = unpacked + <usize>count * unpacked_bytes<Format>();
      let x = args.scratch + <usize>first_row * line + <usize>block * ACTIVATION_BYTES;
      let row: u32 = 0;
      for (; row + 4 <= rows; row += 4, x += 4 * line) {
        multiply_four<Format>(unpacked, end, x, line, sums + 32 * row);
      }
      for (; row < rows; row++, x += line) {
        multiply_one<Format>(unpacked, end, x, sums + 32 * row);
      }
    }
    for (let row: u32 = 0; row < rows; row++) {
      const place = sums + 32 * row;
      finish(args, first_row + row, panel, v128.load(place), v128.load(place, 16));
    }
  }
}

/** Unpacks neighboring blocks of a row panel. */
// @ts-ignore: decorator
@inline
export function unpack_blocks<Format>(args: Planes, place: u32, count: u32, target: usize): void {
  const format = changetype<Format>(0);
  let values = args.values + <usize>place * value_bytes<Format>();
  let high = args.high + <usize>place * high_bytes<Format>();
  for (let block = place; block < place + count; block++) {
    if ((block - place) % PREFETCH_BLOCKS == 0) {
      prefetch<Format>(values, args.scales + 32 * <usize>block, high, place + count - block);
    }
    unpack_scales<Format>(args, block, target + 512);
    format.unpack(values, high, target);
    format.unpack(values + value_step<Format>(), high + high_bytes<Format>() / 2, target + 16);
    values += value_bytes<Format>();
    high += high_bytes<Format>();
    target += unpacked_bytes<Format>();
  }
}

/** Unpacks the scales of a block of a row panel, then its minima or further scales. */
// @ts-ignore: decorator
@inline
export function unpack_scales<Format>(args: Planes, block: u32, target: usize): void {
  const format = changetype<Format>(0);
  const scales = args.scales + 32 * <usize>block;
  const superScales = args.superScales + 32 * <usize>(block / 8);
  for (let half: usize = 0; half < 32; half += 16) {
    let factors = i32x4.splat(0), minima = factors;
    if ((format.traits() & SUPER_SCALES)) {
      const words = v128.load(superScales + half);
      factors = steady_halves4(i32x4.shl(words, 16));
      minima = steady_halves4(words);
    }
    const words = v128.load(scales + half);
    v128.store(target + half, scale_of<Format>(words, factors));
    v128.store(target + half, second_of<Format>(words, second_factors<Format>(factors, minima)), 32);
    if (format.traits() & TWO_MINIMA) {
      v128.store(target + half, near_minima<Format>(words, minima), 64);
      v128.store(target + half, far_minima<Format>(words, minima), 96);
    }
  }
}

/** Words of four rows: `word` of each. */
// @ts-ignore: decorator
@inline
export function transposed(a: v128, b: v128, c: v128, d: v128, word: u32): v128 {
  if (word < 2) {
    const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
    const cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
    return word == 0 ? v128.shuffle<i64>(ab, cd, 0, 2) : v128.shuffle<i64>(ab, cd, 1, 3);
  }
  const ab = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
  const cd = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  return word == 2 ? v128.shuffle<i64>(ab, cd, 0, 2) : v128.shuffle<i64>(ab, cd, 1, 3);
}

// @ts-ignore: decorator
@inline
function dot(sums: v128, weights: v128, x: v128): v128 {
  return i32x4.add(sums, i32x4.dot_i16x8_s(weights, x));
}

// @ts-ignore: decorator
@inline
function add_unpacked<Format>(
  sums: v128,
  scale: v128,
  second: v128,
  products: v128,
  x: usize,
): v128 {
  if (changetype<Format>(0).traits() & MINIMA) return add_affine(sums, scale, second, products, x);
  return add_scaled(sums, scale, products, x);
}

/** Multiplies four rows of activations by unpacked blocks. */
// @ts-ignore: decorator
@inline
function multiply_four<Format>(w: usize, end: usize, x0: usize, line: usize, sums: usize): void {
  const format = changetype<Format>(0);
  let x1 = x0 + line, x2 = x1 + line, x3 = x2 + line;
  let a0 = v128.load(sums), b0 = v128.load(sums, 16), a1 = v128.load(sums, 32), b1 = v128.load(sums, 48);
  let a2 = v128.load(sums, 64), b2 = v128.load(sums, 80), a3 = v128.load(sums, 96), b3 = v128.load(sums, 112);
  while (w < end) {
    const block = w;
    for (let stop = w + 512; w < stop;) {
      const half = w + ((format.traits() & TWO_SCALES) ? 256 : 512);
      const zero = i32x4.splat(0);
      let s0 = zero, t0 = zero, s1 = zero, t1 = zero, s2 = zero, t2 = zero, s3 = zero, t3 = zero;
      for (; w < half; w += 64, x0 += 8, x1 += 8, x2 += 8, x3 += 8) {
        let u = v128.load(w), v = v128.load(w, 16), y = v128.load32_splat(x0);
        s0 = dot(s0, u, y);
        t0 = dot(t0, v, y);
        y = v128.load32_splat(x1);
        s1 = dot(s1, u, y);
        t1 = dot(t1, v, y);
        y = v128.load32_splat(x2);
        s2 = dot(s2, u, y);
        t2 = dot(t2, v, y);
        y = v128.load32_splat(x3);
        s3 = dot(s3, u, y);
        t3 = dot(t3, v, y);
        u = v128.load(w, 32);
        v = v128.load(w, 48);
        y = v128.load32_splat(x0, 4);
        s0 = dot(s0, u, y);
        t0 = dot(t0, v, y);
        y = v128.load32_splat(x1, 4);
        s1 = dot(s1, u, y);
        t1 = dot(t1, v, y);
        y = v128.load32_splat(x2, 4);
        s2 = dot(s2, u, y);
        t2 = dot(t2, v, y);
        y = v128.load32_splat(x3, 4);
        s3 = dot(s3, u, y);
        t3 = dot(t3, v, y);
      }
      // The pointers into the activations have moved by 64 bytes of a block, or by 32 of its first half.
      const is_first = (format.traits() & TWO_SCALES) && w < stop;
      const back: usize = is_first ? 32 : 64;
      const scales = block + ((format.traits() & TWO_SCALES) && !is_first ? 544 : 512);
      const scale0 = v128.load(scales), scale1 = v128.load(scales, 16);
      const second0 = v128.load(block, 544), second1 = v128.load(block, 560);
      a0 = add_unpacked<Format>(a0, scale0, second0, s0, x0 - back);
      b0 = add_unpacked<Format>(b0, scale1, second1, t0, x0 - back);
      a1 = add_unpacked<Format>(a1, scale0, second0, s1, x1 - back);
      b1 = add_unpacked<Format>(b1, scale1, second1, t1, x1 - back);
      a2 = add_unpacked<Format>(a2, scale0, second0, s2, x2 - back);
      b2 = add_unpacked<Format>(b2, scale1, second1, t2, x2 - back);
      a3 = add_unpacked<Format>(a3, scale0, second0, s3, x3 - back);
      b3 = add_unpacked<Format>(b3, scale1, second1, t3, x3 - back);
    }
    if (format.traits() & TWO_MINIMA) {
      const near0 = v128.load(block, 576), near1 = v128.load(block, 592);
      const far0 = v128.load(block, 608), far1 = v128.load(block, 624);
      a0 = add_minima(a0, near0, far0, x0 - 64);
      b0 = add_minima(b0, near1, far1, x0 - 64);
      a1 = add_minima(a1, near0, far0, x1 - 64);
      b1 = add_minima(b1, near1, far1, x1 - 64);
      a2 = add_minima(a2, near0, far0, x2 - 64);
      b2 = add_minima(b2, near1, far1, x2 - 64);
      a3 = add_minima(a3, near0, far0, x3 - 64);
      b3 = add_minima(b3, near1, far1, x3 - 64);
    }
    w = block + unpacked_bytes<Format>();
    x0 += 16;
    x1 += 16;
    x2 += 16;
    x3 += 16;
  }
  v128.store(sums, a0);
  v128.store(sums, b0, 16);
  v128.store(sums, a1, 32);
  v128.store(sums, b1, 48);
  v128.store(sums, a2, 64);
  v128.store(sums, b2, 80);
  v128.store(sums, a3, 96);
  v128.store(sums, b3, 112);
}

/** Multiplies one row of activations by unpacked blocks. */
// @ts-ignore: decorator
@inline
function multiply_one<Format>(w: usize, end: usize, x: usize, sums: usize): void {
  const format = changetype<Format>(0);
  let a = v128.load(sums), b = v128.load(sums, 16);
  while (w < end) {
    const block = w;
    for (let stop = w + 512; w < stop;) {
      const half = w + ((format.traits() & TWO_SCALES) ? 256 : 512);
      let s = i32x4.splat(0), t = s;
      for (; w < half; w += 32, x += 4) {
        const y = v128.load32_splat(x);
        s = dot(s, v128.load(w), y);
        t = dot(t, v128.load(w, 16), y);
      }
      const is_first = (format.traits() & TWO_SCALES) && w < stop;
      const back: usize = is_first ? 32 : 64;
      const scales = block + ((format.traits() & TWO_SCALES) && !is_first ? 544 : 512);
      a = add_unpacked<Format>(a, v128.load(scales), v128.load(block, 544), s, x - back);
      b = add_unpacked<Format>(b, v128.load(scales, 16), v128.load(block, 560), t, x - back);
    }
    if (format.traits() & TWO_MINIMA) {
      a = add_minima(a, v128.load(block, 576), v128.load(block, 608), x - 64);
      b = add_minima(b, v128.load(block, 592), v128.load(block, 624), x - 64);
    }
    w = block + unpacked_bytes<Format>();
    x += 16;
  }
  v128.store(sums, a);
  v128.store(sums, b, 16);
}
