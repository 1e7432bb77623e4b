/**
 * Sketches of keys: what they hold, how long they are, and the rotation before them.
 *
 * A sketch is a key after its rotation by position, minus a mean key, times a random orthogonal matrix, divided by its root
 * mean square and rounded to the levels that lose least of a normal distribution (Lloyd and Max). The matrix makes
 * elements of any key close to normal, and leaves products with queries, which go through it as well, as they are.
 *
 * Words of codes lie in blocks of four tokens, u32 [sequences, kvHeads, capacity / 4, words, 4]. Byte j of a token's
 * `4 * words` bytes holds elements j, j + 4 * words, j + 8 * words and so on, the first in the lowest bits. Elements past
 * the head have code 0, and queries are 0 there. Scales are halves, two in a word, [sequences, kvHeads, capacity / 2].
 *
 * @see {@link https://doi.org/10.1109/TIT.1982.1056489 | Lloyd: least squares quantization in PCM}
 * @module
 */

import { checkInteger, RequirementError } from "../core/check.ts";
import { seededRandom } from "../core/random.ts";

/** Bits of an element that sketches may have. */
export const SKETCH_BITS = [1, 2, 4] as const;

/** One of `SKETCH_BITS`. */
export type SketchBits = typeof SKETCH_BITS[number];

/** Levels of a standard normal variable as whole numbers, so that all devices multiply by the same. */
interface Codebook {
  /** Positive levels, ascending; those below 0 mirror them. */
  readonly levels: readonly number[];
  /** What stands for 1. */
  readonly scale: number;
}

/** Optimal levels: ±0.798; ±0.453, ±1.510; ±0.128, ±0.388, ±0.657, ±0.942, ±1.256, ±1.618, ±2.069, ±2.733. */
const CODEBOOKS: Readonly<Record<SketchBits, Codebook>> = {
  1: { levels: [1], scale: Math.sqrt(Math.PI / 2) },
  2: { levels: [36, 120], scale: 79.46 },
  4: { levels: [6, 18, 31, 44, 58, 75, 96, 127], scale: 46.475 },
};

/** Seed of the rotation. */
const ROTATION_SEED = 33;

/** Sizes of a sketch. */
export interface SketchSize {
  /** Elements of a head. */
  readonly headDim: number;
  /** Bits of an element. */
  readonly bits: SketchBits;
}

/** Largest whole number that an element of a rotated query may be: those of 16 bits. */
export const QUERY_STEPS = 32767;

/**
 * Levels of codes, ascending.
 *
 * @param bits Bits of an element.
 * @returns Whole numbers from -127 to 127; a code is an index.
 */
export function sketchLevels(bits: SketchBits): Float32Array<ArrayBuffer> {
  const { levels } = CODEBOOKS[bits];
  return Float32Array.from([...levels.map((level) => -level).reverse(), ...levels]);
}

/**
 * What stands for 1 among the levels.
 *
 * @param bits Bits of an element.
 */
export function levelScale(bits: SketchBits): number {
  return CODEBOOKS[bits].scale;
}

/**
 * Words of codes of a token.
 *
 * @param size Elements and their bits.
 */
export function sketchWords({ headDim, bits }: SketchSize): number {
  return Math.ceil(headDim * bits / 32);
}

/**
 * Elements of a query that sketches are multiplied by, those past the head included.
 *
 * @param size Elements and their bits.
 */
export function sketchElements(size: SketchSize): number {
  return 32 / size.bits * sketchWords(size);
}

/**
 * Bytes of the sketch of one token of a KV head: codes, and half a word for the scale.
 *
 * @param size Elements and their bits.
 */
export function sketchTokenBytes(size: SketchSize): number {
  return 4 * sketchWords(size) + 2;
}

/**
 * Checks sizes.
 *
 * @param action What could not be done.
 * @param size Elements and bits, and tokens that fit.
 * @throws {RequirementError} If bits are not 1, 2 or 4, or the capacity is not a multiple of 4.
 */
export function checkSketch(
  action: string,
  { bits, capacity }: { readonly bits: number; readonly capacity: number },
): void {
  checkInteger(action, "capacity / 4", { value: capacity / 4, min: 1 });
  if (SKETCH_BITS.some((allowed) => allowed === bits)) return;
  const requirement = `bits must be one of ${SKETCH_BITS.join(", ")}`;
  throw new RequirementError({ action, requirement, current: bits });
}

/**
 * Where a code is.
 *
 * @param words Words of a token.
 * @param bits Bits of an element.
 * @param element Element, from 0.
 * @returns The token's word, and the lowest bit of the code in it.
 */
export function codePlace(
  words: number,
  bits: number,
  element: number,
): { readonly word: number; readonly shift: number } {
  const byte = element % (4 * words);
  const field = Math.floor(element / (4 * words));
  return { word: byte >>> 2, shift: 8 * (byte & 3) + bits * field };
}

/** Matrices by head size; they are always the same. */
const ROTATIONS = new Map<number, Float32Array<ArrayBuffer>>();

/**
 * Makes the random orthogonal matrix of a head size: Gram and Schmidt on rows of sums of twelve uniform numbers. Sums,
 * products, quotients and roots of float64 are the same everywhere, and unlike signs with a Hadamard matrix this exists
 * for every head size.
 *
 * @param headDim Elements of a head.
 * @returns [headDim, headDim]; element i of a rotated head is the sum over j of element j times [j, i].
 */
export function sketchRotation(headDim: number): Float32Array<ArrayBuffer> {
  const known = ROTATIONS.get(headDim);
  if (known) return known;
  const random = seededRandom(ROTATION_SEED);
  const rows: Float64Array[] = [];
  while (rows.length < headDim) {
    const row = new Float64Array(headDim);
    for (let i = 0; i < headDim; i++) {
      for (let draw = 0; draw < 12; draw++) row[i]! += random();
      row[i]! -= 6;
    }
    // Twice, so that rounding leaves nothing of the other rows.
    for (const other of [...rows, ...rows]) {
      const product = dot(row, other);
      for (let i = 0; i < headDim; i++) row[i]! -= product * other[i]!;
    }
    const length = Math.sqrt(dot(row, row));
    rows.push(row.map((value) => value / length));
  }
  const matrix = new Float32Array(headDim * headDim);
  rows.forEach((row, j) => matrix.set(row, j * headDim));
  ROTATIONS.set(headDim, matrix);
  return matrix;
}

/** Adds products in order. */
function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
