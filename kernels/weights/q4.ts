/**
 * 4 bits with scale and minimum for each block: `scale * q + minimum`.
 *
 * `values` holds nibbles, `scales` scale and minimum as halves. All scales of the files stay exact.
 *
 * @module
 */

import { copyVector, fourBits } from "./affine.ts";
import { TWO_HALVES, VECTOR, type WeightFormat, WORD } from "./format.ts";
import { VECTOR_STEP } from "./packing.ts";

/** 4 bits, scale and minimum. */
export const q4: WeightFormat = {
  name: "q4",
  planes: { values: VECTOR, scales: WORD },
  ...fourBits,
  floats: { plane: "scales", exponents: TWO_HALVES },
  stored: {
    /** Scale, 16 bytes of nibbles; a weight is `scale * (q - 8)`. */
    Q4_0: {
      elements: 32,
      bytes: 18,
      packRow({ words16, halves }, { blocks, values, halves: scales }, row) {
        let { value, scale } = row;
        let word = row.byte >> 1;
        for (let block = 0; block < blocks; block++) {
          scales[2 * scale] = halves[word]!;
          scales[2 * scale + 1] = -8 * halves[word]!;
          copyVector(words16, word + 1, { values, first: value });
          word += 9;
          scale += 8;
          value += VECTOR_STEP;
        }
      },
    },
    /** Scale, minimum, 16 bytes of nibbles. */
    Q4_1: {
      elements: 32,
      bytes: 20,
      packRow({ words32 }, { blocks, values, scales }, row) {
        for (let block = 0; block < blocks; block++) {
          const word = (row.byte >> 2) + 5 * block;
          const value = row.value + VECTOR_STEP * block;
          scales[row.scale + 8 * block] = words32[word]!;
          for (let j = 0; j < 4; j++) values[value + j] = words32[word + 1 + j]!;
        }
      },
    },
  },
};
