/**
 * 32-bit floats: 8 vectors of 4.
 *
 * @module
 */

import { copyRow, floatReader } from "./floats.ts";
import type { WeightFormat } from "./format.ts";

/** 32-bit floats. */
export const f32: WeightFormat = {
  name: "f32",
  planes: { values: { type: "vec4f", perBlock: 8 } },
  functions: "",
  numbers: (_quad, { values }) => values,
  reader: ({ values: { buffer, byteOffset, length } }) =>
    floatReader(new Float32Array(buffer, byteOffset, length), 4),
  floats: { plane: "values", exponents: 0x7f800000 },
  stored: {
    F32: {
      elements: 1,
      bytes: 4,
      packRow: ({ words32 }, { values, columns }, { byte, value }) =>
        copyRow(words32, values, { from: byte / 4, to: value, perVector: 4, count: columns }),
    },
  },
};
