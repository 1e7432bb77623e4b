/**
 * 5 bits with scale and minimum for each block: `scale * q + minimum`.
 *
 * `values` holds nibbles, `scales` scale and minimum as halves; bit q of byte b of `high` is the fifth bit of weight
 * 4q + b. All scales of the files stay exact.
 *
 * @module
 */

import { copyVector, fiveBits } from "./affine.ts";
import { TWO_HALVES, VECTOR, type WeightFormat, WORD } from "./format.ts";
import { VECTOR_STEP } from "./packing.ts";

/** 5 bits, scale and minimum. */
export const q5: WeightFormat = {
  name: "q5",
  planes: { values: VECTOR, scales: WORD, high: WORD },
  ...fiveBits,
  floats: { plane: "scales", exponents: TWO_HALVES },
  stored: {
    /** Scale, 4 bytes of fifth bits, 16 bytes of nibbles; a weight is `scale * (q - 16)`. */
    Q5_0: {
      elements: 32,
      bytes: 22,
      packRow({ words16, halves }, { blocks, values, halves: scales, high }, row) {
        let { value, scale } = row;
        let word = row.byte >> 1;
        for (let block = 0; block < blocks; block++) {
          scales[2 * scale] = halves[word]!;
          scales[2 * scale + 1] = -16 * halves[word]!;
          high[scale] = interleave(words16[word + 1]! | words16[word + 2]! << 16);
          copyVector(words16, word + 3, { values, first: value });
          word += 11;
          scale += 8;
          value += VECTOR_STEP;
        }
      },
    },
    /** Scale, minimum, 4 bytes of fifth bits, 16 bytes of nibbles. */
    Q5_1: {
      elements: 32,
      bytes: 24,
      packRow({ words32 }, { blocks, values, scales, high }, row) {
        for (let block = 0; block < blocks; block++) {
          const word = (row.byte >> 2) + 6 * block;
          const scale = row.scale + 8 * block;
          const value = row.value + VECTOR_STEP * block;
          scales[scale] = words32[word]!;
          high[scale] = interleave(words32[word + 1]!);
          for (let j = 0; j < 4; j++) values[value + j] = words32[word + 2 + j]!;
        }
      },
    },
  },
};

/** Moves bit 4q + b to bit q of byte b, for all 32 bits. */
function interleave(bits: number): number {
  let moved = 0;
  for (let q = 0; q < 8; q++) {
    // The product puts the four lowest bits where the lowest bit of each byte is.
    moved |= (Math.imul(bits >>> 4 * q & 15, 0x00204081) & 0x01010101) << q;
  }
  return moved;
}
