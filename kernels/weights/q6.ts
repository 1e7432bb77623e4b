/**
 * 6 bits with a scale for each 16 weights: `scale * (q - 32)`, where a scale is a small integer times a half.
 *
 * `values` holds nibbles, `high` the upper two bits as in `two_bits.ts`, `scales` words as in `two_scales.ts`.
 *
 * @module
 */

import { HIGH_FUNCTIONS, movedBits, nibbleAt, nibbles, packedNibbles } from "./affine.ts";
import { VECTOR, type WeightFormat, WORD } from "./format.ts";
import { type PackTarget, type StoredType, VECTOR_STEP } from "./packing.ts";
import { LOW_NIBBLES, SUPER_BLOCKS } from "./super_blocks.ts";
import { componentOf, packPairs, pairAt, PAIRS } from "./two_bits.ts";
import { TWO_SCALES_FUNCTION, twoScales, twoScalesReader } from "./two_scales.ts";

/** Nibbles of 128 bytes, upper bit pairs of 64 bytes, 16 signed scales, one half. */
const storedQ6K: StoredType = {
  elements: 256,
  bytes: 210,
  packRow({ words16 }, target, row) {
    const scratch = new Uint32Array(48); // nibbles and bit pairs of a super-block at whole words
    let { value, scale } = row;
    let word = row.byte >> 1;
    for (let first = 0; first < target.blocks; first += SUPER_BLOCKS) {
      for (let i = 0; i < 48; i++) {
        scratch[i] = words16[word + 2 * i]! | words16[word + 2 * i + 1]! << 16;
      }
      const common = words16[word + 104]! << 16;
      for (let block = 0; block < SUPER_BLOCKS; block++) {
        target.scales[scale] = common | words16[word + 96 + block]!;
        packSixBits(scratch, block, { target, scale, value });
        scale += 8;
        value += VECTOR_STEP;
      }
      word += 105;
    }
  },
};

/**
 * Each half of a super-block has 4 blocks: blocks 0 and 2 share 32 bytes of nibbles, as do 1 and 3, and all four share
 * 32 bytes of bit pairs.
 */
function packSixBits(
  scratch: Uint32Array,
  block: number,
  place: { readonly target: PackTarget; readonly scale: number; readonly value: number },
): void {
  const { values, high } = place.target;
  const side = block >> 2;
  const part = block & 3;
  const from = 16 * side + 8 * (part & 1);
  const shift = part < 2 ? 0 : 4;
  for (let j = 0; j < 4; j++) {
    const near = scratch[from + j]! >>> shift & LOW_NIBBLES;
    const far = scratch[from + 4 + j]! >>> shift & LOW_NIBBLES;
    values[place.value + j] = near | far << 4;
  }
  packPairs({ words32: scratch, first: 32 + 8 * side, part }, high, 2 * place.scale);
}

const upperBits = (quad: number, high: string) =>
  movedBits(`${high}.${componentOf(quad)}`, 4 - 2 * (quad % 4), "0x30303030u");

/** 6 bits, a scale for each 16 weights. */
export const q6: WeightFormat = {
  name: "q6",
  planes: { values: VECTOR, scales: WORD, high: PAIRS },
  functions: `${HIGH_FUNCTIONS}
${TWO_SCALES_FUNCTION}`,
  numbers: (quad, { values, high }) => nibbles(quad, values, upperBits(quad, high)),
  packedNumbers: (quad, { values, high }) =>
    `(${packedNibbles(quad, values)}) | (${upperBits(quad, high)})`,
  scaling: twoScales(32),
  reader: ({ values, scales, high }) =>
    twoScalesReader(scales!, 32, (place, i) => {
      return nibbleAt(values, place, i) | pairAt(high!, 2 * place.scale, i) << 4;
    }),
  floats: { plane: "scales", exponents: 0x7c000000 },
  stored: { Q6_K: storedQ6K },
};
