// Products with weights that are floats. See matmul.as.
//
// Each row has four sums, of every fourth column, which are added at the end, for any number of activation rows; products
// are rounded before they are added. So a row gets the same bits on every CPU, alone and among others.
//
// A format is an unmanaged class without fields: `block_bytes` of a row panel, `load` of a quad of columns of a row.
// Unpacked weights are those of f32.

import { finish, ITEM_ROWS, Matmul, rows_of_part } from "./matmul";
import { float_sums4 } from "./simd";

/** Blocks that are unpacked at a time, 16 KiB. */
const CHUNK_BLOCKS: u32 = 16;

/** Bytes of the sums of an item, which lie before its unpacked weights. */
const SUM_BYTES: usize = 128 * ITEM_ROWS;

/** Bytes of an unpacked block of a row panel. */
const UNPACKED_BYTES: usize = 1024;

/** Multiplies one row of activations; items are row panels. */
// @ts-ignore: decorator
@inline
export function multiply_float_row<Format>(args: Matmul, first: u32, last: u32): void {
  const format = changetype<Format>(0);
  const blocks = args.columns / 32;
  const end = args.input + 4 * <usize>args.columns;
  for (let panel = first; panel < last; panel++) {
    let values = args.values + <usize>panel * blocks * format.block_bytes();
    const zero = f32x4.splat(0);
    let a = zero, b = zero, c = zero, d = zero, e = zero, f = zero, g = zero, h = zero;
    for (let x = args.input; x < end; x += 32, values += format.block_bytes() / 4) {
      const near = v128.load(x);
      a = add_product(a, format.load(values, 0, 0), near);
      b = add_product(b, format.load(values, 0, 1), near);
      c = add_product(c, format.load(values, 0, 2), near);
      d = add_product(d, format.load(values, 0, 3), near);
      e = add_product(e, format.load(values, 0, 4), near);
      f = add_product(f, format.load(values, 0, 5), near);
      g = add_product(g, format.load(values, 0, 6), near);
      h = add_product(h, format.load(values, 0, 7), near);
      const far = v128.load(x, 16);
      a = add_product(a, format.load(values, 1, 0), far);
      b = add_product(b, format.load(values, 1, 1), far);
      c = add_product(c, format.load(values, 1, 2), far);
      d = add_product(d, format.load(values, 1, 3), far);
      e = add_product(e, format.load(values, 1, 4), far);
      f = add_product(f, format.load(values, 1, 5), far);
      g = add_product(g, format.load(values, 1, 6), far);
      h = add_product(h, format.load(values, 1, 7), far);
    }
    finish(args, 0, panel, float_sums4(a, b, c, d), float_sums4(e, f, g, h));
  }
}

// @ts-ignore: decorator
@inline
function add_product(sums: v128, weights: v128, x: v128): v128 {
  return f32x4.add(sums, f32x4.mul(weights, x));
}

/** Multiplies several rows of activations; items are row panels times blocks of activation rows. */
// @ts-ignore: decorator
@inline
export function multiply_float_rows<Format>(args: Matmul, first: u32, last: u32, thread: u32): void {
  const blocks = args.columns / 32;
  const panels = (args.weight_rows + 7) / 8;
  const part_rows = rows_of_part(args.rows);
  const line = 4 * <usize>args.input_stride;
  const sums = args.thread_scratch + <usize>thread * args.thread_bytes;
  for (let item = first; item < last; item++) {
    const part = item / panels;
    const panel = item - part * panels;
    const first_row = part * part_rows;
    const rows = min(part_rows, args.rows - first_row);
    for (let block: u32 = 0; block < blocks; block += CHUNK_BLOCKS) {
      const count = min(CHUNK_BLOCKS, blocks - block);
      const is_first = block == 0, is_last = block + count == blocks;
      const place = panel * blocks + block;
      const unpacked = unpack_floats<Format>(args.values, place, count, sums + SUM_BYTES);
      const end = unpacked + <usize>count * UNPACKED_BYTES;
      let x = args.input + <usize>first_row * line + 128 * <usize>block;
      for (let row: u32 = 0; row < rows; row += 2, x += 2 * line) {
        // An odd row is computed twice.
        const next = row + 1 < rows ? line : 0;
        const own = sums + 128 * row;
        multiply_two(unpacked, end, x, x + next, own, is_first, is_last);
        multiply_two(unpacked + 64, end, x, x + next, own + 64, is_first, is_last);
      }
    }
    for (let row: u32 = 0; row < rows; row++) {
      const place = sums + 128 * row;
      finish(args, first_row + row, panel, v128.load(place), v128.load(place, 64));
    }
  }
}

/** Unpacks neighboring blocks of a row panel; returns where they are. */
// @ts-ignore: decorator
@inline
export function unpack_floats<Format>(values: usize, place: u32, count: u32, target: usize): usize {
  const format = changetype<Format>(0);
  let source = values + <usize>place * format.block_bytes();
  if (format.block_bytes() == UNPACKED_BYTES) return source;
  const end = target + <usize>count * UNPACKED_BYTES;
  for (let to = target; to < end; to += 256, source += format.block_bytes() / 4) {
    for (let row: usize = 0; row < 8; row++) {
      v128.store(to + 16 * row, format.load(source, 0, row));
      v128.store(to + 16 * row, format.load(source, 1, row), 128);
    }
  }
  return target;
}

/**
 * Multiplies two rows of activations by four rows of unpacked blocks. The four sums of each product stay in memory from
 * one chunk of columns to the next; the last one leaves their sum.
 */
function multiply_two(
  w: usize,
  end: usize,
  x: usize,
  y: usize,
  sums: usize,
  is_first: bool,
  is_last: bool,
): void {
  const zero = f32x4.splat(0);
  let a = zero, b = zero, c = zero, d = zero, e = zero, f = zero, g = zero, h = zero;
  if (!is_first) {
    a = v128.load(sums);
    b = v128.load(sums, 16);
    c = v128.load(sums, 32);
    d = v128.load(sums, 48);
    e = v128.load(sums, 128);
    f = v128.load(sums, 144);
    g = v128.load(sums, 160);
    h = v128.load(sums, 176);
  }
  for (; w < end; w += 256, x += 32, y += 32) {
    const x0 = v128.load(x), x1 = v128.load(x, 16), y0 = v128.load(y), y1 = v128.load(y, 16);
    let near = v128.load(w), far = v128.load(w, 128);
    a = add_product(add_product(a, near, x0), far, x1);
    e = add_product(add_product(e, near, y0), far, y1);
    near = v128.load(w, 16);
    far = v128.load(w, 144);
    b = add_product(add_product(b, near, x0), far, x1);
    f = add_product(add_product(f, near, y0), far, y1);
    near = v128.load(w, 32);
    far = v128.load(w, 160);
    c = add_product(add_product(c, near, x0), far, x1);
    g = add_product(add_product(g, near, y0), far, y1);
    near = v128.load(w, 48);
    far = v128.load(w, 176);
    d = add_product(add_product(d, near, x0), far, x1);
    h = add_product(add_product(h, near, y0), far, y1);
  }
  if (is_last) {
    v128.store(sums, float_sums4(a, b, c, d));
    v128.store(sums, float_sums4(e, f, g, h), 128);
    return;
  }
  v128.store(sums, a);
  v128.store(sums, b, 16);
  v128.store(sums, c, 32);
  v128.store(sums, d, 48);
  v128.store(sums, e, 128);
  v128.store(sums, f, 144);
  v128.store(sums, g, 160);
  v128.store(sums, h, 176);
}
