/**
 * 3 bits with a scale for each 16 weights: `scale * (q - 4)`, where a scale is a small integer times a half.
 *
 * `values` holds the low two bits as in `two_bits.ts`, `scales` words as in `two_scales.ts`; bit q of byte b of `high` is
 * the third bit of weight 4q + b.
 *
 * @module
 */

import { BYTE_FUNCTION, movedBits } from "./affine.ts";
import { type WeightFormat, WORD } from "./format.ts";
import type { StoredType } from "./packing.ts";
import { packEighths, SUPER_BLOCKS } from "./super_blocks.ts";
import { componentOf, packPairs, PAIR_STEP, pairAt, PAIRS } from "./two_bits.ts";
import { TWO_SCALES_FUNCTION, twoScales, twoScalesReader } from "./two_scales.ts";

/** 32 bytes of third bits, 64 bytes of pairs, 16 scales of 6 bits in 12 bytes, one half. */
const storedQ3K: StoredType = {
  elements: 256,
  bytes: 110,
  packRow({ words16 }, { blocks, values, scales, high }, row) {
    const words32 = new Uint32Array(27); // bits, pairs and scales of a super-block at whole words
    let { value, scale } = row;
    let word = row.byte >> 1;
    for (let first = 0; first < blocks; first += SUPER_BLOCKS) {
      for (let i = 0; i < 27; i++) {
        words32[i] = words16[word + 2 * i]! | words16[word + 2 * i + 1]! << 16;
      }
      for (let block = 0; block < SUPER_BLOCKS; block++) {
        const pairs = { words32, first: 8 + 8 * (block >> 2), part: block & 3 };
        packPairs(pairs, values, value);
        scales[scale] = words16[word + 54]! << 16 | twoIntegers(words32, block);
        high[scale] = packEighths(words32, 0, block);
        scale += 8;
        value += PAIR_STEP;
      }
      word += 55;
    }
  },
};

/** Scales of a block as two signed bytes: their low 4 bits lie in 8 bytes, their upper 2 bits in 4 more. */
function twoIntegers(words32: Uint32Array, block: number): number {
  const near = block & 3; // blocks 4 to 7 are in the upper nibbles
  const shift = 16 * (near & 1);
  const low = words32[24 + (near >> 1)]! >>> shift + (block < 4 ? 0 : 4) & 0x0f0f;
  const upper = words32[26]! >>> shift + 2 * (block >> 1) & 0x0303;
  const both = low | upper << 4;
  return both - 32 & 0xff | (both >> 8) - 32 << 8 & 0xff00;
}

/** Expression for the integers of a quad in bytes. */
function threeBits(quad: number, values: string, high: string): string {
  const pairs = movedBits(`${values}.${componentOf(quad)}`, -2 * (quad % 4), "0x03030303u");
  return `(${pairs}) | (${movedBits(high, 2 - quad, "0x04040404u")})`;
}

/** 3 bits, a scale for each 16 weights. */
export const q3: WeightFormat = {
  name: "q3",
  planes: { values: PAIRS, scales: WORD, high: WORD },
  functions: `${BYTE_FUNCTION}
${TWO_SCALES_FUNCTION}`,
  numbers: (quad, { values, high }) => `bytes(${threeBits(quad, values, high)})`,
  packedNumbers: (quad, { values, high }) => threeBits(quad, values, high),
  scaling: twoScales(4),
  reader: ({ values, scales, high }) =>
    twoScalesReader(scales!, 4, (place, i) => {
      const third = high![place.scale]! >>> 8 * (i & 3) + (i >> 2) & 1;
      return pairAt(values, place.value, i) | third << 2;
    }),
  floats: { plane: "scales", exponents: 0x7c000000 },
  stored: { Q3_K: storedQ3K },
};
