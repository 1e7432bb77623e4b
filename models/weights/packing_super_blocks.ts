/**
 * Packers for ggml's super-blocks of 256 weights: Q4_K, Q5_K and Q6_K.
 *
 * A super-block holds 8 blocks of 32 whose scales and minima are small integers times a common half. Both factors are
 * kept, so that no weight changes. The bits are moved by whole words.
 *
 * @see {@link https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h | ggml-common.h} for the blocks.
 * @module
 */

import { SUPER_BLOCKS as BLOCKS } from "../../kernels/weight_format.ts";
import {
  firstScale,
  firstSuper,
  firstValue,
  type PackTarget,
  type RowPacker,
  VECTOR_STEP,
} from "./packing_target.ts";

const LOW_NIBBLES = 0x0f0f0f0f;
const UPPER_NIBBLES = 0xf0f0f0f0;
/** Flips the sign of the second half of a word. */
const MINUS_SECOND = 0x80000000;

/** Super-blocks of two halves, 12 bytes of scales and minima, 128 bytes of nibbles. */
export const packQ4K: RowPacker = (source, target, { start, row }) => {
  const { words32 } = source;
  let word = start >> 2;
  let unit = firstSuper(target, row);
  let scale = firstScale(target, row);
  let value = firstValue(target, row);
  for (let block = 0; block < target.blocks; block += BLOCKS) {
    target.supers[unit] = words32[word]! ^ MINUS_SECOND;
    packScales(words32, word + 1, { target, scale });
    packNibbles(words32, word + 4, { target, value });
    word += 36;
    unit += 8;
    scale += 8 * BLOCKS;
    value += VECTOR_STEP * BLOCKS;
  }
};

/** The same with 32 bytes of fifth bits before the nibbles: bit b of byte i belongs to weight i of block b. */
export const packQ5K: RowPacker = (source, target, { start, row }) => {
  const { words32 } = source;
  let word = start >> 2;
  let unit = firstSuper(target, row);
  let scale = firstScale(target, row);
  let value = firstValue(target, row);
  for (let block = 0; block < target.blocks; block += BLOCKS) {
    target.supers[unit] = words32[word]! ^ MINUS_SECOND;
    packScales(words32, word + 1, { target, scale });
    for (let b = 0; b < BLOCKS; b++) {
      let bits = 0;
      for (let j = 0; j < 8; j++) bits |= (words32[word + 4 + j]! >>> b & 0x01010101) << j;
      target.high[scale + 8 * b] = bits;
    }
    packNibbles(words32, word + 12, { target, value });
    word += 44;
    unit += 8;
    scale += 8 * BLOCKS;
    value += VECTOR_STEP * BLOCKS;
  }
};

/** Scales and minima of 6 bits each in 12 bytes. */
function packScales(
  words32: Uint32Array,
  word: number,
  place: { readonly target: PackTarget; readonly scale: number },
): void {
  const { halves } = place.target;
  const [first, second, third] = [words32[word]!, words32[word + 1]!, words32[word + 2]!];
  const lowScales = first & 0x3f3f3f3f;
  const lowMinima = second & 0x3f3f3f3f;
  const highScales = third & LOW_NIBBLES | first >>> 2 & 0x30303030;
  const highMinima = third >>> 4 & LOW_NIBBLES | second >>> 2 & 0x30303030;
  for (let b = 0; b < 4; b++) {
    const near = 2 * (place.scale + 8 * b);
    const far = near + 64;
    halves[near] = lowScales >>> 8 * b & 63;
    halves[near + 1] = lowMinima >>> 8 * b & 63;
    halves[far] = highScales >>> 8 * b & 63;
    halves[far + 1] = highMinima >>> 8 * b & 63;
  }
}

/** 32 bytes hold two blocks, one in the low and one in the upper nibbles, in the order of the weights. */
function packNibbles(
  words32: Uint32Array,
  word: number,
  place: { readonly target: PackTarget; readonly value: number },
): void {
  const { values } = place.target;
  for (let pair = 0; pair < 4; pair++) {
    const from = word + 8 * pair;
    const low = place.value + 2 * VECTOR_STEP * pair;
    const upper = low + VECTOR_STEP;
    for (let j = 0; j < 4; j++) {
      const near = words32[from + j]!;
      const far = words32[from + 4 + j]!;
      values[low + j] = near & LOW_NIBBLES | (far & LOW_NIBBLES) << 4;
      values[upper + j] = near >>> 4 & LOW_NIBBLES | far & UPPER_NIBBLES;
    }
  }
}

/** Super-blocks of 128 bytes of nibbles, 64 bytes of upper bit pairs, 16 signed scales, one half. */
export const packQ6K: RowPacker = (source, target, { start, row }) => {
  const { words16 } = source;
  const scratch = new Uint32Array(48);
  let word = start >> 1;
  let scale = firstScale(target, row);
  let value = firstValue(target, row);
  for (let block = 0; block < target.blocks; block += BLOCKS) {
    for (let i = 0; i < 48; i++) {
      scratch[i] = words16[word + 2 * i]! | words16[word + 2 * i + 1]! << 16;
    }
    const unit = words16[word + 104]! << 16;
    for (let b = 0; b < BLOCKS; b++) {
      target.scales[scale + 8 * b] = unit | words16[word + 96 + b]!;
      packSixBits(scratch, b, { target, scale: scale + 8 * b, value: value + VECTOR_STEP * b });
    }
    word += 105;
    scale += 8 * BLOCKS;
    value += VECTOR_STEP * BLOCKS;
  }
};

/**
 * Each half of a super-block has 4 blocks: blocks 0 and 2 share 32 bytes of nibbles, as do 1 and 3, and all four share
 * 32 bytes of bit pairs.
 */
function packSixBits(
  words: Uint32Array,
  block: number,
  place: { readonly target: PackTarget; readonly scale: number; readonly value: number },
): void {
  const { values, high } = place.target;
  const half = block >> 2;
  const part = block & 3;
  const nibbles = 16 * half + 8 * (part & 1);
  const shift = part < 2 ? 0 : 4;
  for (let j = 0; j < 4; j++) {
    const near = words[nibbles + j]! >>> shift & LOW_NIBBLES;
    const far = words[nibbles + 4 + j]! >>> shift & LOW_NIBBLES;
    values[place.value + j] = near | far << 4;
  }
  const pairs = 32 + 8 * half;
  for (let side = 0; side < 2; side++) {
    let bits = 0;
    for (let j = 0; j < 4; j++) {
      bits |= (words[pairs + 4 * side + j]! >>> 2 * part & 0x03030303) << 2 * j;
    }
    high[2 * place.scale + side] = bits;
  }
}
