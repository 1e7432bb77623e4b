/**
 * 6 bits with a scale for each 16 weights: `scale * (q - 32)`, where a scale is a small integer times a half.
 *
 * `values` holds nibbles. `high` has 2 words, one for each 16 weights: bits 2q and 2q + 1 of byte b are the upper bits
 * of weight 4q + b. A word of `scales` is the two integers in its low bytes, and the half by which they are multiplied.
 *
 * @module
 */

import { HIGH_FUNCTIONS, movedBits, nibbleAt, nibbles } from "./affine.ts";
import { BLOCK_COLUMNS, halvesOf, VECTOR, type WeightFormat, WORD } from "./format.ts";
import { type PackTarget, type StoredType, VECTOR_STEP } from "./packing.ts";
import { LOW_NIBBLES, SUPER_BLOCKS } from "./super_blocks.ts";

const half = (quad: number) => quad < 4 ? "x" : "y";

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
  for (let word = 0; word < 2; word++) {
    let bits = 0;
    for (let j = 0; j < 4; j++) {
      bits |= (scratch[32 + 8 * side + 4 * word + j]! >>> 2 * part & 0x03030303) << 2 * j;
    }
    high[2 * place.scale + word] = bits;
  }
}

/** 6 bits, a scale for each 16 weights. */
export const q6: WeightFormat = {
  name: "q6",
  planes: { values: VECTOR, scales: WORD, high: { type: "vec2u", perBlock: 1 } },
  functions: `${HIGH_FUNCTIONS}
fn bothScales(word: u32) -> vec2f {
  return vec2f(vec2i(vec2u(word) << vec2u(24u, 16u)) >> vec2u(24u)) * unpack2x16float(word).y;
}`,
  numbers: (quad, { values, high }) =>
    nibbles(quad, values, movedBits(`${high}.${half(quad)}`, 4 - 2 * (quad % 4), "0x30303030u")),
  scaling: {
    quads: 4,
    load: (word) => `bothScales(${word})`,
    weights: (numbers, scale, quad) =>
      `${numbers} * ${scale}.${half(quad)} - 32.0 * ${scale}.${half(quad)}`,
    sum: ({ products, activations }, scale, quad) =>
      `${scale}.${half(quad)} * (${products} - 32.0 * ${activations})`,
  },
  reader({ values, scales, high }) {
    const halves = halvesOf(scales!);
    const bytes = new Int8Array(scales!.buffer, scales!.byteOffset, 4 * scales!.length);
    return (target, place) => {
      const { column, scale } = place;
      for (let i = 0; i < BLOCK_COLUMNS; i++) {
        const pair = high![scale * 2 + (i >> 4)]! >>> 8 * (i & 3) + 2 * (i >> 2 & 3) & 3;
        const q = nibbleAt(values, place, i) | pair << 4;
        target[column + i] = halves[2 * scale + 1]! * bytes[4 * scale + (i >> 4)]! * (q - 32);
      }
    };
  },
  floats: { plane: "scales", exponents: 0x7c000000 },
  stored: { Q6_K: storedQ6K },
};
