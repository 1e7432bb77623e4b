/**
 * Packers for ggml's blocks of 32 weights: Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0.
 *
 * Their low bits already lie in the order of the device; what changes is where they go, the order of the fifth
 * bits, and that a weight becomes `scale * q + minimum` with an unsigned `q`. All scales stay exact.
 *
 * @see {@link https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h | ggml-common.h} for the blocks.
 * @module
 */

import { firstScale, firstValue, type RowPacker, VECTOR_STEP } from "./packing_target.ts";

/** Blocks of 16-bit words: scale, 16 bytes of nibbles; a weight is `scale * (q - 8)`. */
export const packQ4Zero: RowPacker = (source, target, { start, row }) => {
  const { words16, halves } = source;
  let word = start >> 1;
  let scale = firstScale(target, row);
  let value = firstValue(target, row);
  for (let block = 0; block < target.blocks; block++) {
    target.halves[2 * scale] = halves[word]!;
    target.halves[2 * scale + 1] = -8 * halves[word]!;
    copyWords(words16, word + 1, { values: target.values, first: value });
    word += 9;
    scale += 8;
    value += VECTOR_STEP;
  }
};

/** Blocks of scale, minimum, 16 bytes of nibbles. */
export const packQ4One: RowPacker = (source, target, { start, row }) => {
  const { words32 } = source;
  const { values, scales } = target;
  let word = start >> 2;
  let scale = firstScale(target, row);
  let value = firstValue(target, row);
  for (let block = 0; block < target.blocks; block++) {
    scales[scale] = words32[word]!;
    for (let j = 0; j < 4; j++) values[value + j] = words32[word + 1 + j]!;
    word += 5;
    scale += 8;
    value += VECTOR_STEP;
  }
};

/** Blocks of scale, 4 bytes of fifth bits, 16 bytes of nibbles; a weight is `scale * (q - 16)`. */
export const packQ5Zero: RowPacker = (source, target, { start, row }) => {
  const { words16, halves } = source;
  const { values, high } = target;
  let word = start >> 1;
  let scale = firstScale(target, row);
  let value = firstValue(target, row);
  for (let block = 0; block < target.blocks; block++) {
    target.halves[2 * scale] = halves[word]!;
    target.halves[2 * scale + 1] = -16 * halves[word]!;
    high[scale] = interleave(words16[word + 1]! | words16[word + 2]! << 16);
    copyWords(words16, word + 3, { values, first: value });
    word += 11;
    scale += 8;
    value += VECTOR_STEP;
  }
};

/** Blocks of scale, minimum, 4 bytes of fifth bits, 16 bytes of nibbles. */
export const packQ5One: RowPacker = (source, target, { start, row }) => {
  const { words32 } = source;
  const { values, scales, high } = target;
  let word = start >> 2;
  let scale = firstScale(target, row);
  let value = firstValue(target, row);
  for (let block = 0; block < target.blocks; block++) {
    scales[scale] = words32[word]!;
    high[scale] = interleave(words32[word + 1]!);
    for (let j = 0; j < 4; j++) values[value + j] = words32[word + 2 + j]!;
    word += 6;
    scale += 8;
    value += VECTOR_STEP;
  }
};

/** Blocks of scale, 32 signed bytes. */
export const packQ8Zero: RowPacker = (source, target, { start, row }) => {
  const { words16 } = source;
  const { values, scales } = target;
  let word = start >> 1;
  let scale = firstScale(target, row);
  let value = firstValue(target, row);
  for (let block = 0; block < target.blocks; block++) {
    scales[scale] = words16[word]!;
    copyWords(words16, word + 1, { values, first: value });
    copyWords(words16, word + 9, { values, first: value + VECTOR_STEP });
    word += 17;
    scale += 8;
    value += 2 * VECTOR_STEP;
  }
};

/** Moves bit 4q + b to bit q of byte b, for all 32 bits. */
function interleave(bits: number): number {
  let moved = 0;
  for (let q = 0; q < 8; q++) {
    // The product puts the four lowest bits where the lowest bit of each byte is.
    moved |= (Math.imul(bits >>> 4 * q & 15, 0x00204081) & 0x01010101) << q;
  }
  return moved;
}

/** Copies 16 bytes that need not begin at a whole 32-bit word. */
function copyWords(
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
