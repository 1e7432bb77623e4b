/**
 * 8 bits with a scale for each block: `scale * q`.
 *
 * Byte b of word j of `values`, 2 vectors per block, is weight 4j + b, signed; `scales` holds the scale as a half.
 *
 * @module
 */

import { copyVector } from "./affine.ts";
import {
  BLOCK_COLUMNS,
  halvesOf,
  ROWS_PER_PANEL,
  TWO_HALVES,
  type WeightFormat,
  WORD,
} from "./format.ts";
import { VECTOR_STEP } from "./packing.ts";

/** 8 bits and scale. */
export const q8: WeightFormat = {
  name: "q8",
  planes: { values: { type: "vec4u", perBlock: 2 }, scales: WORD },
  functions: `fn bytes(word: u32) -> vec4f {
  return vec4f(vec4i(vec4u(word) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u));
}`,
  numbers: (quad, { values }) => `bytes(${values}.${"xyzw"[quad % 4]})`,
  scaling: {
    quads: 8,
    load: (word) => `unpack2x16float(${word})`,
    weights: (numbers, scale) => `${numbers} * ${scale}.x`,
    sum: ({ products }, scale) => `${scale}.x * ${products}`,
  },
  reader({ values, scales }) {
    const bytes = new Int8Array(values.buffer, values.byteOffset, values.length * 4);
    const halves = halvesOf(scales!);
    return (target, { column, value, scale }) => {
      const factor = halves[scale * 2]!;
      for (let i = 0; i < BLOCK_COLUMNS; i++) {
        const byte = value * 4 + (i >> 4) * ROWS_PER_PANEL * 16 + (i & 15);
        target[column + i] = factor * bytes[byte]!;
      }
    };
  },
  floats: { plane: "scales", exponents: TWO_HALVES },
  stored: {
    /** Scale, 32 signed bytes. */
    Q8_0: {
      elements: 32,
      bytes: 34,
      packRow({ words16 }, { blocks, values, scales }, row) {
        let { value, scale } = row;
        let word = row.byte >> 1;
        for (let block = 0; block < blocks; block++) {
          scales[scale] = words16[word]!;
          copyVector(words16, word + 1, { values, first: value });
          copyVector(words16, word + 9, { values, first: value + VECTOR_STEP });
          word += 17;
          scale += 8;
          value += 2 * VECTOR_STEP;
        }
      },
    },
  },
};
