/**
 * Shared by ggml's formats with super-blocks of 256 weights, whose 8 blocks have scales and minima of 6 bits times a
 * common half.
 *
 * Both factors are kept, because their product does not fit a half: `scales` holds the small integers as halves,
 * `superScales` the common halves. No weight changes.
 *
 * @module
 */

import { type PackTarget, VECTOR_STEP } from "./packing.ts";

/** Blocks of a super-block. */
export const SUPER_BLOCKS = 8;
/** Low nibbles of four bytes. */
export const LOW_NIBBLES = 0x0f0f0f0f;
const UPPER_NIBBLES = 0xf0f0f0f0;
/** Flips the sign of the second half of a word: files subtract the minimum. */
export const MINUS_SECOND = 0x80000000;

/** Scales and minima of 6 bits each in 12 bytes. */
export function packScales(
  words32: Uint32Array,
  word: number,
  place: { readonly halves: PackTarget["halves"]; readonly scale: number },
): void {
  const { halves } = place;
  const [first, second, third] = [words32[word]!, words32[word + 1]!, words32[word + 2]!];
  const lowScales = first & 0x3f3f3f3f;
  const lowMinima = second & 0x3f3f3f3f;
  const highScales = third & LOW_NIBBLES | first >>> 2 & 0x30303030;
  const highMinima = third >>> 4 & LOW_NIBBLES | second >>> 2 & 0x30303030;
  for (let b = 0; b < 4; b++) {
    const near = 2 * (place.scale + 8 * b);
    const far = near + 64;
    halves[near] = lowScales >>> 8 * b & 63;
    halves[near + 1] = lowMinima >>> 8 * b & 63;
    halves[far] = highScales >>> 8 * b & 63;
    halves[far + 1] = highMinima >>> 8 * b & 63;
  }
}

/**
 * Packs the bit that each of 32 weights has in 32 bytes, whose bit b belongs to block b.
 *
 * @returns A word: bit q of its byte b is that of weight 4q + b.
 */
export function packEighths(words32: Uint32Array, word: number, block: number): number {
  let bits = 0;
  for (let j = 0; j < 8; j++) bits |= (words32[word + j]! >>> block & 0x01010101) << j;
  return bits;
}

/** 32 bytes hold two blocks, one in the low and one in the upper nibbles, in the order of the weights. */
export function packNibbles(
  words32: Uint32Array,
  word: number,
  place: { readonly values: PackTarget["values"]; readonly value: number },
): void {
  const { values } = place;
  for (let pair = 0; pair < 4; pair++) {
    const from = word + 8 * pair;
    const low = place.value + 2 * VECTOR_STEP * pair;
    const upper = low + VECTOR_STEP;
    for (let j = 0; j < 4; j++) {
      const near = words32[from + j]!;
      const far = words32[from + 4 + j]!;
      values[low + j] = near & LOW_NIBBLES | (far & LOW_NIBBLES) << 4;
      values[upper + j] = near >>> 4 & LOW_NIBBLES | far & UPPER_NIBBLES;
    }
  }
}
