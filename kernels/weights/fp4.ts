/**
 * Floats of 4 bits (a sign, two bits of exponent, one of mantissa) times a power of two: the OCP's MXFP4.
 *
 * The table holds twice the floats, so that they are integers, and the scale is half of the file's, which is at least
 * 2^-128 and exact in 32 bits.
 *
 * @see {@link https://www.opencompute.org/documents/ocp-microscaling-formats-mx-v1-0-spec-final-pdf | OCP Microscaling}
 * @module
 */

import { nibbles } from "./affine.ts";
import { codebook } from "./codebook.ts";
import type { WeightFormat } from "./format.ts";
import { VECTOR_STEP } from "./packing.ts";

/** Floats of 4 bits times a power of two. */
export const fp4: WeightFormat = {
  name: "fp4",
  ...codebook([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]),
  packedNumbers: (quad, { values }) => `pack4xI8(vec4i(${nibbles(quad, values)}))`,
  stored: {
    /** Exponent of the scale in a byte, 16 bytes of nibbles. */
    MXFP4: {
      elements: 32,
      bytes: 17,
      packRow({ bytes }, { blocks, values, scales }, row) {
        let { byte, value, scale } = row;
        for (let block = 0; block < blocks; block++, byte += 17) {
          scales[scale] = halfOfPower(bytes[byte]!);
          for (let j = 0; j < 4; j++) {
            const at = byte + 1 + 4 * j;
            values[value + j] = bytes[at]! | bytes[at + 1]! << 8 | bytes[at + 2]! << 16 |
              bytes[at + 3]! << 24;
          }
          scale += 8;
          value += VECTOR_STEP;
        }
      },
    },
  },
};

/** Bits of the float 2^(exponent - 128); 255 stands for NaN. */
function halfOfPower(exponent: number): number {
  if (exponent === 255) return 0x7fc00000;
  return exponent < 2 ? 0x00200000 << exponent : exponent - 1 << 23;
}
