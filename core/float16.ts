/**
 * Halves: IEEE binary16 (f16) and bfloat16, one by one and as pairs in 32-bit words.
 *
 * In a word the element with the lower index sits in the lower half, as WGSL's `unpack2x16float` reads it.
 *
 * @module
 */

/**
 * Rounds a number to the nearest f16, ties to even.
 *
 * @param value Any number; beyond 65504 it becomes infinite.
 * @returns The 16 bits.
 */
export function float16Bits(value: number): number {
  return new Uint16Array(Float16Array.of(value).buffer)[0]!;
}

/**
 * Reads an f16.
 *
 * @param bits The 16 bits.
 * @returns Its value.
 */
export function float16Value(bits: number): number {
  return new Float16Array(Uint16Array.of(bits).buffer)[0]!;
}

/**
 * Rounds a number to f32 and then to the nearest bfloat16, ties to even.
 *
 * @param value Any number; a NaN stays a NaN.
 * @returns The 16 bits.
 */
export function bfloat16Bits(value: number): number {
  return packBfloat16(Float32Array.of(value))[0]! & 0xffff;
}

/**
 * Reads a bfloat16.
 *
 * @param bits The 16 bits.
 * @returns Its value.
 */
export function bfloat16Value(bits: number): number {
  return new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!;
}

/**
 * Rounds numbers to f16 and puts two in each word.
 *
 * @param values Numbers; an odd count is filled up with a zero.
 * @returns One word for two numbers.
 */
export function packFloat16(values: ArrayLike<number>): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(values.length / 2));
  new Float16Array(words.buffer).set(values);
  return words;
}

/**
 * Takes f16 pairs apart.
 *
 * @param words Two numbers each.
 * @returns The numbers.
 */
export function unpackFloat16(words: Uint32Array): Float32Array<ArrayBuffer> {
  return new Float32Array(new Float16Array(words.buffer, words.byteOffset, 2 * words.length));
}

/**
 * Rounds numbers to f32 and then to bfloat16, and puts two in each word.
 *
 * @param values Numbers; an odd count is filled up with a zero.
 * @returns One word for two numbers.
 */
export function packBfloat16(values: ArrayLike<number>): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(values.length / 2));
  const halves = new Uint16Array(words.buffer);
  const bits = new Uint32Array(Float32Array.from(values).buffer);
  for (let index = 0; index < bits.length; index++) {
    const word = bits[index]!;
    const isNan = (word & 0x7fffffff) > 0x7f800000;
    // Half of the last kept place, less one if that place is even; a NaN could round to infinity.
    halves[index] = isNan ? word >>> 16 | 0x40 : (word + 0x7fff + (word >>> 16 & 1)) >>> 16;
  }
  return words;
}

/**
 * Takes bfloat16 pairs apart.
 *
 * @param words Two numbers each.
 * @returns The numbers, exactly.
 */
export function unpackBfloat16(words: Uint32Array): Float32Array<ArrayBuffer> {
  const bits = new Uint32Array(2 * words.length);
  for (let index = 0; index < words.length; index++) {
    bits[2 * index] = words[index]! << 16;
    bits[2 * index + 1] = words[index]! & 0xffff0000;
  }
  return new Float32Array(bits.buffer);
}

/**
 * Rounds numbers as f16 storage does.
 *
 * @param values Numbers.
 * @returns The nearest f16 of each.
 */
export function roundToFloat16(values: ArrayLike<number>): Float32Array<ArrayBuffer> {
  return new Float32Array(Float16Array.from(values));
}

/**
 * Rounds numbers as bfloat16 storage does.
 *
 * @param values Numbers.
 * @returns The nearest bfloat16 of each.
 */
export function roundToBfloat16(values: ArrayLike<number>): Float32Array<ArrayBuffer> {
  return unpackBfloat16(packBfloat16(values)).slice(0, values.length);
}
