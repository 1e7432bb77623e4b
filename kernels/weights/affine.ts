/**
 * Shared by formats whose weights are `scale * q + minimum` with a small integer q: four bits of q in nibbles, scale and
 * minimum as two halves.
 *
 * Byte b of word j of `values` holds weight 4j + b in its low and weight 16 + 4j + b in its upper nibble, as the blocks
 * of ggml do.
 *
 * @module
 */

import {
  BLOCK_COLUMNS,
  type BlockPlace,
  type BlockReader,
  halvesOf,
  type Planes,
  type WeightFormat,
  type WeightScaling,
} from "./format.ts";

/** `scale * q + minimum`. */
const affine: WeightScaling = {
  quads: 8,
  load: (word) => `unpack2x16float(${word})`,
  weights: (numbers, scale) => `${numbers} * ${scale}.x + ${scale}.y`,
  sum: ({ products, activations }, scale) =>
    `${scale}.x * ${products} + ${scale}.y * ${activations}`,
};

/** WGSL functions that unpack nibbles. */
const NIBBLE_FUNCTIONS = `fn low(word: u32) -> vec4f {
  return vec4f(vec4i((vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(15u)));
}
fn upper(word: u32) -> vec4f {
  return vec4f(vec4i((vec4u(word) >> vec4u(4u, 12u, 20u, 28u)) & vec4u(15u)));
}`;

/** WGSL function that unpacks bytes without sign. */
export const BYTE_FUNCTION = `fn bytes(word: u32) -> vec4f {
  return vec4f(vec4i((vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(255u)));
}`;

/** WGSL functions that unpack nibbles and join them with bits that are already above them. */
export const HIGH_FUNCTIONS = `fn low(word: u32, high: u32) -> vec4f {
  return bytes((word & 0x0f0f0f0fu) | high);
}
fn upper(word: u32, high: u32) -> vec4f {
  return bytes(((word >> 4u) & 0x0f0f0f0fu) | high);
}
${BYTE_FUNCTION}`;

/** WGSL expression for the nibbles of a quad, joined with further arguments. */
export function nibbles(quad: number, values: string, ...further: readonly string[]): string {
  const word = `${values}.${"xyzw"[quad % 4]}`;
  return `${quad < 4 ? "low" : "upper"}(${[word, ...further].join(", ")})`;
}

/** WGSL expression for the nibbles of a quad as four bytes. */
export function packedNibbles(quad: number, values: string): string {
  return movedBits(`${values}.${"xyzw"[quad % 4]}`, quad < 4 ? 0 : -4, "0x0f0f0f0fu");
}

/** WGSL expression that shifts a word left, or right if `places` is negative, and applies a mask. */
export function movedBits(word: string, places: number, mask: string): string {
  const moved = places < 0 ? `(${word} >> ${-places}u)` : `(${word} << ${places}u)`;
  return `${places === 0 ? word : moved} & ${mask}`;
}

/** Nibble of weight `i` of a block. */
export function nibbleAt(values: Uint32Array, { value }: BlockPlace, i: number): number {
  return values[value + (i >> 2 & 3)]! >>> 8 * (i & 3) + (i < 16 ? 0 : 4) & 15;
}

/** Makes the reader of a format; `numberAt` gives q of weight `i` of a block. */
function affineReader(
  planes: Planes<Uint32Array>,
  numberAt: (place: BlockPlace, i: number) => number,
): BlockReader {
  const scales = halvesOf(planes.scales!);
  const superScales = planes.superScales && halvesOf(planes.superScales);
  return (target, place) => {
    const { column, scale, superBlockScale } = place;
    const factor = scales[2 * scale]! * (superScales?.[2 * superBlockScale] ?? 1);
    const minimum = scales[2 * scale + 1]! * (superScales?.[2 * superBlockScale + 1] ?? 1);
    for (let i = 0; i < BLOCK_COLUMNS; i++) {
      target[column + i] = factor * numberAt(place, i) + minimum;
    }
  };
}

/** What two formats of equally many bits share: everything but planes, the plane with floats, and file types. */
export type AffineFormat = Pick<
  WeightFormat,
  "functions" | "numbers" | "packedNumbers" | "scaling" | "reader"
>;

/** Nibbles alone. */
export const fourBits: AffineFormat = {
  functions: NIBBLE_FUNCTIONS,
  numbers: (quad, { values }) => nibbles(quad, values),
  packedNumbers: (quad, { values }) => packedNibbles(quad, values),
  scaling: affine,
  reader: (planes) => affineReader(planes, (place, i) => nibbleAt(planes.values, place, i)),
};

const fifthBits = (quad: number, high: string) => movedBits(high, 4 - quad, "0x10101010u");

/** Nibbles and a word of `high`: bit q of its byte b is the fifth bit of weight 4q + b. */
export const fiveBits: AffineFormat = {
  functions: HIGH_FUNCTIONS,
  numbers: (quad, { values, high }) => nibbles(quad, values, fifthBits(quad, high)),
  packedNumbers: (quad, { values, high }) =>
    `(${packedNibbles(quad, values)}) | (${fifthBits(quad, high)})`,
  scaling: affine,
  reader: (planes) =>
    affineReader(planes, (place, i) => {
      const fifth = planes.high![place.scale]! >>> 8 * (i & 3) + (i >> 2) & 1;
      return nibbleAt(planes.values, place, i) | fifth << 4;
    }),
};

/** Copies 16 bytes that may not be aligned to 32 bits. */
export function copyVector(
  words16: Uint16Array,
  word: number,
  target: { readonly values: Uint32Array; readonly first: number },
): void {
  const { values, first } = target;
  values[first] = words16[word]! | words16[word + 1]! << 16;
  values[first + 1] = words16[word + 2]! | words16[word + 3]! << 16;
  values[first + 2] = words16[word + 4]! | words16[word + 5]! << 16;
  values[first + 3] = words16[word + 6]! | words16[word + 7]! << 16;
}
