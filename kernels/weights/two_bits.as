// Shared by formats with 2 bits in the plane of values. See two_bits.ts.

// prettier-ignore
const MASKS = memory.data<u32>([
  0x03030303, 0x03030303, 0x03030303, 0x03030303,
  0x00ff00ff, 0x00ff00ff, 0x00ff00ff, 0x00ff00ff,
], 16);

/** Words of the first 16 columns of four rows. */
// @ts-ignore: decorator
@inline
export function near_words(values: usize): v128 {
  return v128.shuffle<i32>(v128.load(values), v128.load(values, 16), 0, 2, 4, 6);
}

/** Words of the last 16 columns of four rows. */
// @ts-ignore: decorator
@inline
export function far_words(values: usize): v128 {
  return v128.shuffle<i32>(v128.load(values), v128.load(values, 16), 1, 3, 5, 7);
}

/** Pairs of a quad of four rows as bytes, from words that are shifted by twice the quad. */
// @ts-ignore: decorator
@inline
export function pairs4(words: v128): v128 {
  return v128.and(words, v128.load(MASKS));
}

/** Stores a quad of four rows, given as bytes, less an offset; see matmul.as. */
// @ts-ignore: decorator
@inline
export function store_quad(target: usize, bytes: v128, offset: v128): void {
  v128.store(target, i16x8.sub(v128.and(bytes, v128.load(MASKS, 16)), offset));
  v128.store(target, i16x8.sub(i16x8.shr_u(bytes, 8), offset), 128);
}
