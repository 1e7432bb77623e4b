// Shared by formats of 4 bits that stand for one of 16 integers. See codebook.ts.

import { transposed } from "./matmul";
import { row_of_bytes, unpack_columns } from "./signed_bytes";
import { sums4 } from "./simd";

// prettier-ignore
const MASK = memory.data<u32>([0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f], 16);

/** Products of four rows of codes with the activations of a block. */
// @ts-ignore: decorator
@inline
export function code_products(values: usize, x: usize, table: v128): v128 {
  return sums4(
    row_of_codes(v128.load(values), x, table),
    row_of_codes(v128.load(values, 16), x, table),
    row_of_codes(v128.load(values, 32), x, table),
    row_of_codes(v128.load(values, 48), x, table),
  );
}

// @ts-ignore: decorator
@inline
function row_of_codes(codes: v128, x: usize, table: v128): v128 {
  return row_of_bytes(low_entries(codes, table), upper_entries(codes, table), x);
}

/** Entries of the codes in low nibbles, as bytes. */
// @ts-ignore: decorator
@inline
function low_entries(codes: v128, table: v128): v128 {
  return i8x16.swizzle(table, v128.and(codes, v128.load(MASK)));
}

/** Entries of the codes in upper nibbles. */
// @ts-ignore: decorator
@inline
function upper_entries(codes: v128, table: v128): v128 {
  return i8x16.swizzle(table, v128.and(i16x8.shr_u(codes, 4), v128.load(MASK)));
}

/** Unpacks the codes of four rows; see matmul.as. */
// @ts-ignore: decorator
@inline
export function unpack_codes(values: usize, table: v128, target: usize): void {
  const a = v128.load(values), b = v128.load(values, 16);
  const c = v128.load(values, 32), d = v128.load(values, 48);
  unpack_columns(
    low_entries(a, table),
    low_entries(b, table),
    low_entries(c, table),
    low_entries(d, table),
    target,
  );
  unpack_columns(
    upper_entries(a, table),
    upper_entries(b, table),
    upper_entries(c, table),
    upper_entries(d, table),
    target + 256,
  );
}

/** Unpacks the codes of four rows to bytes; see matmul_int8.as. */
// @ts-ignore: decorator
@inline
export function unpack_code_bytes(values: usize, table: v128, target: usize): void {
  const a = v128.load(values), b = v128.load(values, 16);
  const c = v128.load(values, 32), d = v128.load(values, 48);
  store_quads(target, transposed(a, b, c, d, 0), table);
  store_quads(target + 32, transposed(a, b, c, d, 1), table);
  store_quads(target + 64, transposed(a, b, c, d, 2), table);
  store_quads(target + 96, transposed(a, b, c, d, 3), table);
}

/** Stores the entries of the two quads of a word of four rows. */
// @ts-ignore: decorator
@inline
function store_quads(target: usize, codes: v128, table: v128): void {
  v128.store(target, low_entries(codes, table));
  v128.store(target, upper_entries(codes, table), 128);
}
