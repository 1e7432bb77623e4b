/**
 * Halves (IEEE binary16) as pairs in 32-bit words.
 *
 * In a word the element with the lower index sits in the lower half, as WGSL's `unpack2x16float` reads it.
 *
 * @module
 */

/**
 * Rounds numbers to f16, ties to even, and puts two in each word.
 *
 * @param values Numbers; an odd count is filled up with a zero.
 * @returns One word for every two numbers.
 */
export function packFloat16(values: ArrayLike<number>): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(values.length / 2));
  new Float16Array(words.buffer).set(values);
  return words;
}

/**
 * Takes f16 pairs apart.
 *
 * @param words Words of two numbers each.
 */
export function unpackFloat16(words: Uint32Array): Float32Array<ArrayBuffer> {
  return new Float32Array(new Float16Array(words.buffer, words.byteOffset, 2 * words.length));
}
