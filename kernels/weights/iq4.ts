/**
 * 4 bits for one of 16 integers that are spread like the weights of a layer, times a scale: ggml's IQ4 types.
 *
 * The scale of a block is the half of the file times its integer of 6 bits, which a float of 32 bits holds exactly.
 *
 * @module
 */

import { copyVector } from "./affine.ts";
import { codebook } from "./codebook.ts";
import type { WeightFormat } from "./format.ts";
import { VECTOR_STEP } from "./packing.ts";
import { SUPER_BLOCKS } from "./super_blocks.ts";

/** 4 bits for integers of a table. */
export const iq4: WeightFormat = {
  name: "iq4",
  ...codebook([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]),
  stored: {
    /** Scale, 16 bytes of nibbles. */
    IQ4_NL: {
      elements: 32,
      bytes: 18,
      packRow({ words16, halves }, { blocks, values, scales }, row) {
        const floats = floatsOf(scales);
        let { value, scale } = row;
        let word = row.byte >> 1;
        for (let block = 0; block < blocks; block++) {
          floats[scale] = halves[word]!;
          copyVector(words16, word + 1, { values, first: value });
          word += 9;
          scale += 8;
          value += VECTOR_STEP;
        }
      },
    },
    /** A half; upper 2 bits of the blocks' scales in 2 bytes, lower 4 bits in 4; 128 bytes of nibbles. */
    IQ4_XS: {
      elements: 256,
      bytes: 136,
      packRow({ words16, words32, halves }, { blocks, values, scales }, row) {
        const floats = floatsOf(scales);
        let { value, scale } = row;
        for (let first = 0, byte = row.byte; first < blocks; first += SUPER_BLOCKS, byte += 136) {
          const common = halves[byte >> 1]!;
          const upper = words16[byte + 2 >> 1]!;
          const lower = words32[byte + 4 >> 2]!;
          for (let block = 0; block < SUPER_BLOCKS; block++) {
            const integer = lower >>> 4 * block & 15 | (upper >>> 2 * block & 3) << 4;
            floats[scale] = common * (integer - 32);
            copyVector(words16, (byte + 8 >> 1) + 8 * block, { values, first: value });
            scale += 8;
            value += VECTOR_STEP;
          }
        }
      },
    },
  },
};

function floatsOf({ buffer, byteOffset, length }: Uint32Array<ArrayBuffer>): Float32Array {
  return new Float32Array(buffer, byteOffset, length);
}
