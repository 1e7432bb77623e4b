/**
 * 2 bits in super-blocks with scale and minimum for each 16 weights: `scale * q + minimum`, where scales and minima are
 * small integers times those of the super-block.
 *
 * `values` holds the bits as in `two_bits.ts`. A word of `scales` is four bytes: two scales, then two minima.
 *
 * @module
 */

import { BYTE_FUNCTION, movedBits } from "./affine.ts";
import {
  BLOCK_COLUMNS,
  halvesOf,
  SUPER_WORD,
  TWO_HALVES,
  type WeightFormat,
  WORD,
} from "./format.ts";
import { MINUS_SECOND, SUPER_BLOCKS } from "./super_blocks.ts";
import { componentOf, packPairs, PAIR_STEP, pairAt, PAIRS } from "./two_bits.ts";

/** Component of the minimum of a quad. */
const minimumOf = (quad: number) => quad < 4 ? "z" : "w";

/** Expression for the integers of a quad in bytes. */
const pairsOf = (quad: number, values: string) =>
  movedBits(`${values}.${componentOf(quad)}`, -2 * (quad % 4), "0x03030303u");

/** 2 bits in super-blocks. */
export const q2k: WeightFormat = {
  name: "q2k",
  planes: { values: PAIRS, scales: WORD, superScales: SUPER_WORD },
  functions: BYTE_FUNCTION,
  numbers: (quad, { values }) => `bytes(${pairsOf(quad, values)})`,
  packedNumbers: (quad, { values }) => pairsOf(quad, values),
  scaling: {
    quads: 4,
    load: (word) => `bytes(${word})`,
    factors: "xxyy",
    weights: (numbers, scale, quad) =>
      `${numbers} * ${scale}.${componentOf(quad)} + ${scale}.${minimumOf(quad)}`,
    sum: ({ products, activations }, scale, quad) =>
      `${scale}.${componentOf(quad)} * ${products} + ${scale}.${minimumOf(quad)} * ${activations}`,
  },
  reader({ values, scales, superScales }) {
    const bytes = new Uint8Array(scales!.buffer, scales!.byteOffset, 4 * scales!.length);
    const factors = halvesOf(superScales!);
    return (target, { column, value, scale, superBlockScale }) => {
      for (let i = 0; i < BLOCK_COLUMNS; i++) {
        const at = 4 * scale + (i >> 4);
        const minimum = factors[2 * superBlockScale + 1]! * bytes[at + 2]!;
        const factor = factors[2 * superBlockScale]! * bytes[at]!;
        target[column + i] = factor * pairAt(values, value, i) + minimum;
      }
    };
  },
  floats: { plane: "superScales", exponents: TWO_HALVES },
  stored: {
    /** 16 bytes with a scale in the low and a minimum in the upper nibble, 64 bytes of pairs, two halves. */
    Q2_K: {
      elements: 256,
      bytes: 84,
      packRow({ words16, words32 }, { blocks, values, scales, superScales }, row) {
        let { value, scale, superBlockScale } = row;
        let word = row.byte >> 2;
        for (let first = 0; first < blocks; first += SUPER_BLOCKS) {
          superScales[superBlockScale] = words32[word + 20]! ^ MINUS_SECOND;
          for (let block = 0; block < SUPER_BLOCKS; block++) {
            const both = words16[2 * word + block]!;
            scales[scale] = both & 0x0f0f | (both & 0xf0f0) << 12;
            const pairs = { words32, first: word + 4 + 8 * (block >> 2), part: block & 3 };
            packPairs(pairs, values, value);
            scale += 8;
            value += PAIR_STEP;
          }
          word += 21;
          superBlockScale += 8;
        }
      },
    },
  },
};
