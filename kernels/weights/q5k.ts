/**
 * 5 bits in super-blocks: `scale * q + minimum`, where scale and minimum of a block are small integers times those of
 * its super-block.
 *
 * @module
 */

import { fiveBits } from "./affine.ts";
import { SUPER_WORD, TWO_HALVES, VECTOR, type WeightFormat, WORD } from "./format.ts";
import { VECTOR_STEP } from "./packing.ts";
import {
  MINUS_SECOND,
  packEighths,
  packNibbles,
  packScales,
  SUPER_BLOCKS,
} from "./super_blocks.ts";

/** 5 bits in super-blocks. */
export const q5k: WeightFormat = {
  name: "q5k",
  planes: { values: VECTOR, scales: WORD, superScales: SUPER_WORD, high: WORD },
  ...fiveBits,
  floats: { plane: "superScales", exponents: TWO_HALVES },
  stored: {
    /**
     * Two halves, 12 bytes of scales and minima, 32 bytes of fifth bits (bit b of byte i belongs to weight i of block b),
     * 128 bytes of nibbles.
     */
    Q5_K: {
      elements: 256,
      bytes: 176,
      packRow({ words32 }, { blocks, values, halves, superScales, high }, row) {
        let word = row.byte >> 2;
        for (let block = 0; block < blocks; block += SUPER_BLOCKS, word += 44) {
          const scale = row.scale + 8 * block;
          superScales[row.superBlockScale + block] = words32[word]! ^ MINUS_SECOND;
          packScales(words32, word + 1, { halves, scale });
          for (let b = 0; b < SUPER_BLOCKS; b++) {
            high[scale + 8 * b] = packEighths(words32, word + 4, b);
          }
          packNibbles(words32, word + 12, { values, value: row.value + VECTOR_STEP * block });
        }
      },
    },
  },
};
