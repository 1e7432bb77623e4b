/**
 * 16-bit floats: 4 vectors of 8.
 *
 * @module
 */

import { floatReader, packHalves } from "./floats.ts";
import { halvesOf, TWO_HALVES, type WeightFormat } from "./format.ts";

/** 16-bit floats. */
export const f16: WeightFormat = {
  name: "f16",
  planes: { values: { type: "vec4u", perBlock: 4 } },
  functions: `fn halves(words: vec2u) -> vec4f {
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}`,
  numbers: (quad, { values }) => `halves(${values}.${quad % 2 === 0 ? "xy" : "zw"})`,
  reader: ({ values }) => floatReader(halvesOf(values), 8),
  floats: { plane: "values", exponents: TWO_HALVES },
  stored: {
    F16: {
      elements: 1,
      bytes: 2,
      packRow: packHalves,
    },
  },
};
