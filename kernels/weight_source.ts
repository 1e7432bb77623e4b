/**
 * Pieces of WGSL that turn packed weights into numbers, for kernels generated per format.
 *
 * A block of 32 columns is taken in 8 quads of 4 columns. `quad` q of a row is weights 4q to 4q + 3.
 *
 * @module
 */

import {
  hasSupers,
  HIGH_WORDS,
  SCALE_WORDS,
  VALUE_VECTORS,
  type WeightFormat,
} from "./weight_format.ts";

/** Type of the elements of each plane's binding; planes a format lacks are left out. */
export function planeTypes(format: WeightFormat): Readonly<Record<string, string>> {
  return {
    values: format === "f32" ? "vec4f" : "vec4u",
    ...(SCALE_WORDS[format] > 0 && { scales: "u32" }),
    ...(hasSupers(format) && { supers: "u32" }),
    ...(HIGH_WORDS[format] > 0 && { high: HIGH_WORDS[format] === 2 ? "vec2u" : "u32" }),
  };
}

/** Bindings of the planes, for a kernel's contract. */
export function planeBindings(
  format: WeightFormat,
): Readonly<Record<string, "read f32" | "read u32">> {
  return {
    values: format === "f32" ? "read f32" : "read u32",
    ...(SCALE_WORDS[format] > 0 && { scales: "read u32" as const }),
    ...(hasSupers(format) && { supers: "read u32" as const }),
    ...(HIGH_WORDS[format] > 0 && { high: "read u32" as const }),
  };
}

/**
 * WGSL functions that the expressions of `quadExpression` call.
 *
 * @param format Weight format.
 * @returns Declarations, or an empty string.
 */
export function weightHelpers(format: WeightFormat): string {
  switch (format) {
    case "f32":
      return "";
    case "f16":
      return `fn halves(words: vec2u) -> vec4f {
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}`;
    case "bf16":
      return `fn halves(words: vec2u) -> vec4f {
  return bitcast<vec4f>(vec4u(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
}`;
    case "q8":
      return `fn bytes(word: u32) -> vec4f {
  return vec4f(vec4i(vec4u(word) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u));
}`;
    case "q4":
    case "q4k":
      return `fn low(word: u32) -> vec4f {
  return vec4f(vec4i((vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(15u)));
}
fn upper(word: u32) -> vec4f {
  return vec4f(vec4i((vec4u(word) >> vec4u(4u, 12u, 20u, 28u)) & vec4u(15u)));
}`;
    case "q5":
    case "q5k":
      return highHelpers;
    case "q6":
      return `${highHelpers}
fn bothScales(word: u32) -> vec2f {
  return vec2f(vec2i(vec2u(word) << vec2u(24u, 16u)) >> vec2u(24u)) * unpack2x16float(word).y;
}`;
  }
}

const highHelpers = `fn low(word: u32, high: u32) -> vec4f {
  return bytes((word & 0x0f0f0f0fu) | high);
}
fn upper(word: u32, high: u32) -> vec4f {
  return bytes(((word >> 4u) & 0x0f0f0f0fu) | high);
}
fn bytes(word: u32) -> vec4f {
  return vec4f(vec4i((vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(255u)));
}`;

/**
 * WGSL expression for the scale and minimum of a block, or the two scales of q6.
 *
 * @param format Weight format with scales.
 * @param place Expression for the block of all panels; the row of the panel is `lane`.
 * @returns An expression of type `vec2f`.
 */
export function blockScale(format: WeightFormat, place: string): string {
  const word = `scales[${place} * 8u + lane]`;
  if (format === "q6") return `bothScales(${word})`;
  const scale = `unpack2x16float(${word})`;
  if (!hasSupers(format)) return scale;
  return `${scale} * unpack2x16float(supers[${place} / 8u * 8u + lane])`;
}

/** Names of the WGSL variables that hold what was loaded for one row and block. */
export interface BlockNames {
  /** Vector of the values plane that holds the quad. */
  readonly values: string;
  /** `vec2f` of scale and minimum, or of the two scales of q6. */
  readonly scale: string;
  /** Words of the high plane. */
  readonly high: string;
}

/** Which vector of a block's values holds a quad. */
export function quadVector(format: WeightFormat, quad: number): number {
  return VALUE_VECTORS[format] === 1 ? 0 : Math.floor(quad * VALUE_VECTORS[format] / 8);
}

/**
 * WGSL expression for four neighboring weights.
 *
 * @param format Weight format.
 * @param quad Which four of the block's 32, from 0 to 7.
 * @param names Variables to read.
 * @returns An expression of type `vec4f`.
 */
export function quadExpression(format: WeightFormat, quad: number, names: BlockNames): string {
  const numbers = quadNumbers(format, quad, names);
  if (SCALE_WORDS[format] === 0) return numbers;
  const { x, y } = { x: `${names.scale}.x`, y: `${names.scale}.y` };
  if (format === "q8") return `${numbers} * ${x}`;
  if (format !== "q6") return `${numbers} * ${x} + ${y}`;
  const own = quad < 4 ? x : y;
  return `${numbers} * ${own} - 32.0 * ${own}`;
}

/**
 * WGSL expression for four neighboring weights before their scale and minimum: small integers.
 *
 * @param format Weight format; one without scales gives the weights themselves.
 * @param quad Which four of the block's 32, from 0 to 7.
 * @param names Variables to read.
 * @returns An expression of type `vec4f`.
 */
export function quadNumbers(format: WeightFormat, quad: number, names: BlockNames): string {
  const { values, high } = names;
  const word = `${values}.${"xyzw"[quad % 4]}`;
  const half = quad < 4 ? "low" : "upper";
  switch (format) {
    case "f32":
      return values;
    case "f16":
    case "bf16":
      return `halves(${values}.${quad % 2 === 0 ? "xy" : "zw"})`;
    case "q8":
      return `bytes(${word})`;
    case "q4":
    case "q4k":
      return `${half}(${word})`;
    case "q5":
    case "q5k":
      return `${half}(${word}, ${movedBits(high, 4 - quad, "0x10101010u")})`;
    case "q6": {
      const own = `${high}.${quad < 4 ? "x" : "y"}`;
      return `${half}(${word}, ${movedBits(own, 4 - 2 * (quad % 4), "0x30303030u")})`;
    }
  }
}

/**
 * WGSL expression for the sum over weights times activations of quads that share a scale.
 *
 * @param format Weight format with scales.
 * @param firstQuad First of the quads; q6 has a scale for each four of them, other formats one for all eight.
 * @param names Variables: the scale, the sum of `quadNumbers` times activations, the sum of activations.
 * @returns An expression of type `f32`.
 */
export function scaledSum(
  format: WeightFormat,
  firstQuad: number,
  names: { readonly scale: string; readonly products: string; readonly activations: string },
): string {
  const { scale, products, activations } = names;
  if (format === "q8") return `${scale}.x * ${products}`;
  if (format !== "q6") return `${scale}.x * ${products} + ${scale}.y * ${activations}`;
  return `${scale}.${firstQuad < 4 ? "x" : "y"} * (${products} - 32.0 * ${activations})`;
}

/** Moves the bits of a word up, or down if `places` is negative, and keeps those of a mask. */
function movedBits(word: string, places: number, mask: string): string {
  const moved = places < 0 ? `(${word} >> ${-places}u)` : `(${word} << ${places}u)`;
  return `${places === 0 ? word : moved} & ${mask}`;
}
