/**
 * Shared by formats with a scale for each 16 weights and no minimum: `scale * (q - offset)`, where a scale is a small
 * integer times a half.
 *
 * A word of `scales` is the two integers in its low bytes, and the half by which they are multiplied.
 *
 * @module
 */

import {
  BLOCK_COLUMNS,
  type BlockPlace,
  type BlockReader,
  halvesOf,
  type WeightScaling,
} from "./format.ts";
import { componentOf } from "./two_bits.ts";

/** WGSL function that reads both scales of a block. */
export const TWO_SCALES_FUNCTION = `fn bothScales(word: u32) -> vec2f {
  return vec2f(vec2i(vec2u(word) << vec2u(24u, 16u)) >> vec2u(24u)) * unpack2x16float(word).y;
}`;

/** Scales of integers that are q less an offset. */
export function twoScales(offset: number): WeightScaling {
  return {
    quads: 4,
    load: (word) => `bothScales(${word})`,
    weights: (numbers, scale, quad) =>
      `${numbers} * ${scale}.${componentOf(quad)} - ${offset}.0 * ${scale}.${componentOf(quad)}`,
    sum: ({ products, activations }, scale, quad) =>
      `${scale}.${componentOf(quad)} * (${products} - ${offset}.0 * ${activations})`,
  };
}

/** Makes the reader of a format; `numberAt` gives q of weight `i` of a block. */
export function twoScalesReader(
  scales: Uint32Array,
  offset: number,
  numberAt: (place: BlockPlace, i: number) => number,
): BlockReader {
  const halves = halvesOf(scales);
  const bytes = new Int8Array(scales.buffer, scales.byteOffset, 4 * scales.length);
  return (target, place) => {
    const { column, scale } = place;
    for (let i = 0; i < BLOCK_COLUMNS; i++) {
      const factor = halves[2 * scale + 1]! * bytes[4 * scale + (i >> 4)]!;
      target[column + i] = factor * (numberAt(place, i) - offset);
    }
  };
}
