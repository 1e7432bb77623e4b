/**
 * 16-bit floats with the exponent of 32-bit ones: 4 vectors of 8.
 *
 * @module
 */

import { packHalves } from "./floats.ts";
import { BLOCK_COLUMNS, ROWS_PER_PANEL, type WeightFormat } from "./format.ts";

/** The upper halves of 32-bit floats. */
export const bf16: WeightFormat = {
  name: "bf16",
  planes: { values: { type: "vec4u", perBlock: 4 } },
  functions: `fn halves(words: vec2u) -> vec4f {
  return bitcast<vec4f>(vec4u(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
}`,
  numbers: (quad, { values }) => `halves(${values}.${quad % 2 === 0 ? "xy" : "zw"})`,
  reader({ values }) {
    const bits = new Uint32Array(1);
    const float = new Float32Array(bits.buffer);
    return (target, { column, value }) => {
      for (let i = 0; i < BLOCK_COLUMNS; i++) {
        const word = values[value + (i >> 3) * ROWS_PER_PANEL * 4 + (i >> 1 & 3)]!;
        bits[0] = i % 2 === 0 ? word << 16 : word & 0xffff0000;
        target[column + i] = float[0]!;
      }
    };
  },
  floats: { plane: "values", exponents: 0x7f807f80 },
  stored: {
    BF16: {
      elements: 1,
      bytes: 2,
      packRow: packHalves,
    },
  },
};
