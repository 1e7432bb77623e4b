/**
 * 4 bits in super-blocks: `scale * q + minimum`, where scale and minimum of a block are small integers times those of
 * its super-block.
 *
 * @module
 */

import { fourBits } from "./affine.ts";
import { SUPER_WORD, TWO_HALVES, VECTOR, type WeightFormat, WORD } from "./format.ts";
import { VECTOR_STEP } from "./packing.ts";
import { MINUS_SECOND, packNibbles, packScales, SUPER_BLOCKS } from "./super_blocks.ts";

/** 4 bits in super-blocks. */
export const q4k: WeightFormat = {
  name: "q4k",
  planes: { values: VECTOR, scales: WORD, superScales: SUPER_WORD },
  ...fourBits,
  floats: { plane: "superScales", exponents: TWO_HALVES },
  stored: {
    /** Two halves, 12 bytes of scales and minima, 128 bytes of nibbles. */
    Q4_K: {
      elements: 256,
      bytes: 144,
      packRow({ words32 }, { blocks, values, halves, superScales }, row) {
        let { value, scale, superBlockScale } = row;
        let word = row.byte >> 2;
        for (let block = 0; block < blocks; block += SUPER_BLOCKS) {
          superScales[superBlockScale] = words32[word]! ^ MINUS_SECOND;
          packScales(words32, word + 1, { halves, scale });
          packNibbles(words32, word + 4, { values, value });
          word += 36;
          superBlockScale += 8;
          scale += 8 * SUPER_BLOCKS;
          value += VECTOR_STEP * SUPER_BLOCKS;
        }
      },
    },
  },
};
