// Matrix products with activations of 8 bits, by relaxed SIMD. See matmul.ts and matmul.as.
//
// Weights are integers of at most 7 bits without a sign; what a format subtracts from them is subtracted from the
// products, by the sums of activations. For such operands relaxed instructions have one result, since no sum of two
// products leaves 16 bits: 2 * 127 * 127 < 2^15. So sums of a block of 32 columns are exact, floats are added in the order
// of columns, and a row gets the same bits on every CPU, alone and among others.
//
// A single row is not multiplied here: reading takes its time, and matmul.as gets the same sums from integers that it
// stores in 16 bits.
//
// Quantized activations, for each row and block of 32 columns, 48 bytes:
//   0   32 i8   columns
//   32  f32     scale: the largest magnitude over 127
//   36  f32     scale times the sum of the integers
//   40  2 i32   32 times the sums of the first and the last 16 integers
//
// Unpacked weights of a row panel, for each block, 320 bytes:
//   0    [8 quads of columns][8 rows][4] u8
//   256  [8] f32  scales
//   288  [8] f32  minima, or scales of columns 16 to 31
//
// and 384 where columns 0 to 15 and 16 to 31 have a scale and a minimum each:
//   320  [8] f32  minima of columns 0 to 15
//   352  [8] f32  minima of columns 16 to 31

import {
  finish,
  high_bytes,
  integers4,
  ITEM_ROWS,
  largest_bits,
  Matmul,
  MINIMA,
  Planes,
  prefetch,
  PREFETCH_BLOCKS,
  rows_of_part,
  SMALL,
  TWO_MINIMA,
  TWO_SCALES,
  unpack_scales,
  value_bytes,
  value_step,
} from "./matmul";

const ACTIVATION_BYTES: usize = 48;

/** Blocks that are unpacked at a time; with the activations of four rows they stay in the nearest cache. */
const CHUNK_BLOCKS: u32 = 32;

/** Bytes of the sums of an item, which lie before its unpacked weights. */
const SUM_BYTES: usize = 32 * ITEM_ROWS;

/** Bytes of the integers of an unpacked block, which lie before its scales. */
const QUAD_BYTES: usize = 256;

// V8 makes constant vectors of the code anew wherever they are used; it loads this one.
// prettier-ignore
const ONES = memory.data<u32>([0x00010001, 0x00010001, 0x00010001, 0x00010001], 16);

/** Quantizes activations; items are blocks of 32 columns. */
export function int8_quantize(args: Matmul, first: u32, last: u32, thread: u32): void {
  const blocks = args.columns / 32;
  for (let item = first; item < last; item++) {
    const row = item / blocks;
    const column = 32 * (item - row * blocks);
    const source = args.input + 4 * (<usize>row * args.input_stride + column);
    quantize_block(source, args.scratch + ACTIVATION_BYTES * item);
  }
}

function quantize_block(source: usize, target: usize): void {
  const bits = largest_bits(source);
  const largest = reinterpret<f32>(bits);
  // Below 2^-100 the factor could overflow; such blocks count as zeros.
  const is_zero = largest < 7.888609052210118e-31;
  const factor4 = f32x4.splat(is_zero ? 0 : 127 / largest);
  const scale: f32 = bits >= 0x7f800000 ? NaN : is_zero ? 0 : largest / 127;
  const near = quantize_half(source, target, factor4);
  const far = quantize_half(source + 64, target + 16, factor4);
  store<f32>(target, scale, 32);
  store<f32>(target, scale * <f32>(near + far), 36);
  store<i32>(target, 32 * near, 40);
  store<i32>(target, 32 * far, 44);
}

/** Quantizes 16 columns; returns the sum of the integers. */
// @ts-ignore: decorator
@inline
function quantize_half(source: usize, target: usize, factor4: v128): i32 {
  const near = i16x8.narrow_i32x4_s(
    integers4(v128.load(source), factor4),
    integers4(v128.load(source, 16), factor4),
  );
  const far = i16x8.narrow_i32x4_s(
    integers4(v128.load(source, 32), factor4),
    integers4(v128.load(source, 48), factor4),
  );
  v128.store(target, i8x16.narrow_i16x8_s(near, far));
  const sums = i32x4.dot_i16x8_s(i16x8.add(near, far), i16x8.splat(1));
  return i32x4.extract_lane(sums, 0) + i32x4.extract_lane(sums, 1) +
    i32x4.extract_lane(sums, 2) + i32x4.extract_lane(sums, 3);
}

// @ts-ignore: decorator
@inline
function unpacked_bytes<Format>(): usize {
  return changetype<Format>(0).traits() & TWO_MINIMA ? 384 : 320;
}

/** Multiplies rows of activations; items are row panels times blocks of activation rows. */
// @ts-ignore: decorator
@inline
export function int8_multiply<Format>(args: Matmul, first: u32, last: u32, thread: u32): void {
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

// @ts-ignore: decorator
@inline
function unpack_blocks<Format>(args: Planes, place: u32, count: u32, target: usize): void {
  const format = changetype<Format>(0);
  let values = args.values + <usize>place * value_bytes<Format>();
  let high = args.high + <usize>place * high_bytes<Format>();
  for (let block = place; block < place + count; block++) {
    if ((block - place) % PREFETCH_BLOCKS == 0) {
      prefetch<Format>(values, args.scales + 32 * <usize>block, high, place + count - block);
    }
    unpack_scales<Format>(args, block, target + QUAD_BYTES);
    format.unpack_bytes(values, high, target);
    format.unpack_bytes(values + value_step<Format>(), high + high_bytes<Format>() / 2, target + 16);
    values += value_bytes<Format>();
    high += high_bytes<Format>();
    target += unpacked_bytes<Format>();
  }
}

/** Products of four columns of four rows, summed in pairs to integers of 16 bits. */
// @ts-ignore: decorator
@inline
function dot(weights: v128, x: v128): v128 {
  return i16x8.relaxed_dot_i8x16_i7x16_s(x, weights);
}

/** Sums of neighboring integers of 16 bits. */
// @ts-ignore: decorator
@inline
function pair_sums(sums: v128): v128 {
  return i32x4.dot_i16x8_s(sums, v128.load(ONES));
}

/** Adds the products of two quads, to integers of 16 bits where all of a scale fit them. */
// @ts-ignore: decorator
@inline
function add_quads<Format>(sums: v128, u: v128, x: v128, v: v128, y: v128): v128 {
  if (changetype<Format>(0).traits() & SMALL) return i16x8.add(i16x8.add(sums, dot(u, x)), dot(v, y));
  return i32x4.add(sums, pair_sums(i16x8.add(dot(u, x), dot(v, y))));
}

/** 32 times the sum of the integers of a block, or of half of it. */
// @ts-ignore: decorator
@inline
function integer_sums<Format>(x: usize, is_first: bool): v128 {
  const near = v128.load32_splat(x, 40), far = v128.load32_splat(x, 44);
  if (!(changetype<Format>(0).traits() & TWO_SCALES)) return i32x4.add(near, far);
  return is_first ? near : far;
}

/** Adds a block, or half of it, to the sums. */
// @ts-ignore: decorator
@inline
function add_unpacked<Format>(
  sums: v128,
  scale: v128,
  second: v128,
  products: v128,
  x: usize,
  is_first: bool,
): v128 {
  const format = changetype<Format>(0);
  if (format.traits() & SMALL) products = pair_sums(products);
  if (isDefined(format.offset)) {
    products = i32x4.sub(products, format.offset(integer_sums<Format>(x, is_first)));
  }
  const scaled = f32x4.mul(scale, v128.load32_splat(x, 32));
  const sum = f32x4.add(sums, f32x4.mul(scaled, f32x4.convert_i32x4_s(products)));
  if (!(format.traits() & MINIMA)) return sum;
  return f32x4.add(sum, f32x4.mul(second, v128.load32_splat(x, 36)));
}

/** Adds the minima of both halves of a block times the sums of their activations. */
// @ts-ignore: decorator
@inline
function add_minima(sums: v128, near: v128, far: v128, x: usize): v128 {
  const step = f32x4.mul(v128.load32_splat(x, 32), f32x4.splat(1.0 / 32));
  const near_sum = f32x4.mul(step, f32x4.convert_i32x4_s(v128.load32_splat(x, 40)));
  const far_sum = f32x4.mul(step, f32x4.convert_i32x4_s(v128.load32_splat(x, 44)));
  return f32x4.add(f32x4.add(sums, f32x4.mul(near, near_sum)), f32x4.mul(far, far_sum));
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
    for (let stop = w + QUAD_BYTES; w < stop;) {
      const half = w + ((format.traits() & TWO_SCALES) ? QUAD_BYTES / 2 : QUAD_BYTES);
      const zero = i32x4.splat(0);
      let s0 = zero, t0 = zero, s1 = zero, t1 = zero, s2 = zero, t2 = zero, s3 = zero, t3 = zero;
      for (; w < half; w += 64, x0 += 8, x1 += 8, x2 += 8, x3 += 8) {
        const u = v128.load(w), v = v128.load(w, 16), p = v128.load(w, 32), q = v128.load(w, 48);
        let y = v128.load32_splat(x0), z = v128.load32_splat(x0, 4);
        s0 = add_quads<Format>(s0, u, y, p, z);
        t0 = add_quads<Format>(t0, v, y, q, z);
        y = v128.load32_splat(x1);
        z = v128.load32_splat(x1, 4);
        s1 = add_quads<Format>(s1, u, y, p, z);
        t1 = add_quads<Format>(t1, v, y, q, z);
        y = v128.load32_splat(x2);
        z = v128.load32_splat(x2, 4);
        s2 = add_quads<Format>(s2, u, y, p, z);
        t2 = add_quads<Format>(t2, v, y, q, z);
        y = v128.load32_splat(x3);
        z = v128.load32_splat(x3, 4);
        s3 = add_quads<Format>(s3, u, y, p, z);
        t3 = add_quads<Format>(t3, v, y, q, z);
      }
      // The pointers into the activations have moved by 32 bytes of a block, or by 16 of its first half.
      const is_first = !!(format.traits() & TWO_SCALES) && w < stop;
      const back: usize = is_first ? 16 : 32;
      const scales = block + ((format.traits() & TWO_SCALES) && !is_first ? 288 : 256);
      const scale0 = v128.load(scales), scale1 = v128.load(scales, 16);
      const second0 = v128.load(block, 288), second1 = v128.load(block, 304);
      a0 = add_unpacked<Format>(a0, scale0, second0, s0, x0 - back, is_first);
      b0 = add_unpacked<Format>(b0, scale1, second1, t0, x0 - back, is_first);
      a1 = add_unpacked<Format>(a1, scale0, second0, s1, x1 - back, is_first);
      b1 = add_unpacked<Format>(b1, scale1, second1, t1, x1 - back, is_first);
      a2 = add_unpacked<Format>(a2, scale0, second0, s2, x2 - back, is_first);
      b2 = add_unpacked<Format>(b2, scale1, second1, t2, x2 - back, is_first);
      a3 = add_unpacked<Format>(a3, scale0, second0, s3, x3 - back, is_first);
      b3 = add_unpacked<Format>(b3, scale1, second1, t3, x3 - back, is_first);
    }
    if (format.traits() & TWO_MINIMA) {
      const near0 = v128.load(block, 320), near1 = v128.load(block, 336);
      const far0 = v128.load(block, 352), far1 = v128.load(block, 368);
      a0 = add_minima(a0, near0, far0, x0 - 32);
      b0 = add_minima(b0, near1, far1, x0 - 32);
      a1 = add_minima(a1, near0, far0, x1 - 32);
      b1 = add_minima(b1, near1, far1, x1 - 32);
      a2 = add_minima(a2, near0, far0, x2 - 32);
      b2 = add_minima(b2, near1, far1, x2 - 32);
      a3 = add_minima(a3, near0, far0, x3 - 32);
      b3 = add_minima(b3, near1, far1, x3 - 32);
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
    for (let stop = w + QUAD_BYTES; w < stop;) {
      const half = w + ((format.traits() & TWO_SCALES) ? QUAD_BYTES / 2 : QUAD_BYTES);
      let s = i32x4.splat(0), t = s;
      for (; w < half; w += 64, x += 8) {
        const y = v128.load32_splat(x), z = v128.load32_splat(x, 4);
        s = add_quads<Format>(s, v128.load(w), y, v128.load(w, 32), z);
        t = add_quads<Format>(t, v128.load(w, 16), y, v128.load(w, 48), z);
      }
      const is_first = !!(format.traits() & TWO_SCALES) && w < stop;
      const back: usize = is_first ? 16 : 32;
      const scales = block + ((format.traits() & TWO_SCALES) && !is_first ? 288 : 256);
      a = add_unpacked<Format>(a, v128.load(scales), v128.load(block, 288), s, x - back, is_first);
      b = add_unpacked<Format>(b, v128.load(scales, 16), v128.load(block, 304), t, x - back, is_first);
    }
    if (format.traits() & TWO_MINIMA) {
      a = add_minima(a, v128.load(block, 320), v128.load(block, 352), x - 32);
      b = add_minima(b, v128.load(block, 336), v128.load(block, 368), x - 32);
    }
    w = block + unpacked_bytes<Format>();
    x += 16;
  }
  v128.store(sums, a);
  v128.store(sums, b, 16);
}
