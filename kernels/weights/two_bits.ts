/**
 * Shared by formats with pairs of bits: two words for a block, one for each 16 weights. Bits 2q and 2q + 1 of byte b of
 * word h belong to weight 16h + 4q + b.
 *
 * @module
 */

import type { PlaneLayout } from "./format.ts";

/** Two words for each block: pairs of bits of 32 weights. */
export const PAIRS: PlaneLayout = { type: "vec2u", perBlock: 1 };

/** Words between neighboring blocks of one row in such a plane. */
export const PAIR_STEP = 16;

/** Component of a vector of two for the half of a block that holds a quad. */
export function componentOf(quad: number): "x" | "y" {
  return quad < 4 ? "x" : "y";
}

/** Pair of weight `i` of a block whose words begin at `first`. */
export function pairAt(words: Uint32Array, first: number, i: number): number {
  return words[first + (i >> 4)]! >>> 8 * (i & 3) + 2 * (i >> 2 & 3) & 3;
}

/** Pairs of a block in a file: in words from `first` on, 32 bytes hold four blocks, the first in the lowest bits. */
export interface StoredPairs {
  /** Bytes of the file at whole words. */
  readonly words32: Uint32Array;
  /** First word of the 32 bytes. */
  readonly first: number;
  /** Which of the four blocks. */
  readonly part: number;
}

/** Packs a block of pairs into two words from `to` on. */
export function packPairs(
  { words32, first, part }: StoredPairs,
  target: Uint32Array,
  to: number,
): void {
  for (let half = 0; half < 2; half++) {
    let bits = 0;
    for (let quad = 0; quad < 4; quad++) {
      bits |= (words32[first + 4 * half + quad]! >>> 2 * part & 0x03030303) << 2 * quad;
    }
    target[to + half] = bits;
  }
}
