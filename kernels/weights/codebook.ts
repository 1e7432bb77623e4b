/**
 * Shared by formats of 4 bits that stand for one of 16 small integers each: `scale * table[q]`.
 *
 * `values` holds nibbles as in `affine.ts`. `scales` holds a float of 32 bits for each block, since neither a power of two
 * with an exponent of 8 bits nor the product of a half and a small integer fits a half.
 *
 * @module
 */

import { nibbleAt, nibbles } from "./affine.ts";
import { BLOCK_COLUMNS, VECTOR, type WeightFormat, WORD } from "./format.ts";

/** All that a table of 16 integers says about a format: everything but its name and its file types. */
export type Codebook = Omit<WeightFormat, "name" | "stored">;

/**
 * Makes a format of its table.
 *
 * @param table What each code stands for: 16 integers of at most 8 bits.
 */
export function codebook(table: readonly number[]): Codebook {
  return {
    planes: { values: VECTOR, scales: WORD },
    functions: tableFunctions(table),
    numbers: (quad, { values }) => nibbles(quad, values),
    scaling: {
      quads: 8,
      load: (word) => `vec2f(bitcast<f32>(${word}))`,
      weights: (numbers, scale) => `${numbers} * ${scale}.x`,
      sum: ({ products }, scale) => `${scale}.x * ${products}`,
    },
    reader({ values, scales }) {
      const { buffer, byteOffset, length } = scales!;
      const floats = new Float32Array(buffer, byteOffset, length);
      return (target, place) => {
        const factor = floats[place.scale]!;
        for (let i = 0; i < BLOCK_COLUMNS; i++) {
          target[place.column + i] = factor * table[nibbleAt(values, place, i)]!;
        }
      };
    },
    floats: { plane: "scales", exponents: 0x7f800000 },
  };
}

/** Chooses among the four words of a table, and a byte of it: an array would be read from memory for every weight. */
function tableFunctions(table: readonly number[]): string {
  const words = new Uint32Array(Int8Array.from(table).buffer);
  const [first, second, third, fourth] = Array.from(words, (word) => `vec4u(${word}u)`);
  return `fn low(word: u32) -> vec4f {
  return entries(vec4u(word) >> vec4u(0u, 8u, 16u, 24u));
}
fn upper(word: u32) -> vec4f {
  return entries(vec4u(word) >> vec4u(4u, 12u, 20u, 28u));
}
fn entries(codes: vec4u) -> vec4f {
  let is_odd = (codes & vec4u(4u)) != vec4u();
  let near = select(${first}, ${second}, is_odd);
  let far = select(${third}, ${fourth}, is_odd);
  let words = select(near, far, (codes & vec4u(8u)) != vec4u());
  return vec4f(vec4i(words << ((~codes & vec4u(3u)) * 8u)) >> vec4u(24u));
}`;
}
