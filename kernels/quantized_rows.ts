/**
 * Rows of 8 or 4 bits: how a cache stores a head vector whose numbers are rounded in groups.
 *
 * A group of 32 numbers has a least one and a step, both halves; a number is `least + step * code`, where codes go from 0 to
 * 255 or 15. The words of a row are its codes, then one word for each group: the step in the low half, the least number in
 * the high one. A word of 8-bit codes has four numbers, the first in the lowest byte. A word of 4-bit codes has eight: number
 * j of the first four is in the low half of byte j, number j of the last four in the high half, so that shifts and masks
 * of four bytes at a time unpack them. A row has no room for what it does not need, and rows follow each other.
 *
 * @see docs/method.md, "Caches of fewer bits"
 * @see {@link https://arxiv.org/abs/2402.02750 | KIVI}, which rounds with a least number and a step as well
 * @module
 */

import type { KvFormat } from "./attention_shape.ts";

/** Numbers of a group; the last one of a head vector may have fewer. */
export const QUANTIZED_GROUP = 32;

const BITS: Readonly<Record<KvFormat, number>> = { f32: 32, f16: 16, u8: 8, u4: 4 };

/**
 * Bits of a number.
 *
 * @param format How keys or values are stored; `f16` if left out.
 */
export function kvBits(format: KvFormat = "f16"): number {
  return BITS[format];
}

/**
 * Bytes of a stored head vector.
 *
 * @param format How keys or values are stored; `f16` if left out.
 * @param headDim Elements of a head, a multiple of 8 unless they are floats or halves.
 */
export function vectorBytes(format: KvFormat | undefined, headDim: number): number {
  const bits = kvBits(format);
  return headDim * bits / 8 + (bits < 16 ? 4 * Math.ceil(headDim / QUANTIZED_GROUP) : 0);
}

/**
 * Finds a code.
 *
 * @param bits 8 or 4.
 * @param element Number of the head vector, from 0.
 * @returns Its word in the row, and the lowest bit there.
 */
export function rowCodePlace(
  bits: number,
  element: number,
): { readonly word: number; readonly shift: number } {
  if (bits === 8) return { word: element >>> 2, shift: 8 * (element & 3) };
  return { word: element >>> 3, shift: 8 * (element & 3) + (element & 4) };
}

/**
 * Rounds a head vector.
 *
 * @param vector Its numbers.
 * @param bits 8 or 4.
 * @returns Words of its row.
 */
export function quantizeRow(vector: ArrayLike<number>, bits: number): Uint32Array<ArrayBuffer> {
  const most = 2 ** bits - 1;
  const codeWords = vector.length * bits / 32;
  const row = new Uint32Array(codeWords + Math.ceil(vector.length / QUANTIZED_GROUP));
  const halves = new Float16Array(row.buffer);
  for (let group = 0; group * QUANTIZED_GROUP < vector.length; group++) {
    const numbers = Array.from(vector).slice(
      group * QUANTIZED_GROUP,
      (group + 1) * QUANTIZED_GROUP,
    );
    const [step, least] = [2 * (codeWords + group), 2 * (codeWords + group) + 1];
    halves[least] = Math.min(...numbers);
    halves[step] = (Math.max(...numbers) - halves[least]!) / most;
    numbers.forEach((number, index) => {
      // Codes are relative to what is stored, so that its rounding is no error of theirs.
      const steps = halves[step]! > 0 ? (number - halves[least]!) / halves[step]! : 0;
      const { word, shift } = rowCodePlace(bits, group * QUANTIZED_GROUP + index);
      row[word]! |= Math.min(most, Math.max(0, Math.round(steps))) << shift;
    });
  }
  return row;
}

/**
 * Reads rows.
 *
 * @param words Words of whole rows.
 * @param bits 8 or 4.
 * @param headDim Numbers of a row, a multiple of 8.
 * @returns [rows, headDim].
 */
export function dequantizeRows(
  words: Uint32Array,
  bits: number,
  headDim: number,
): Float32Array<ArrayBuffer> {
  const codeWords = headDim * bits / 32;
  const rowWords = codeWords + Math.ceil(headDim / QUANTIZED_GROUP);
  const rows = Math.floor(words.length / rowWords);
  const halves = new Float16Array(words.buffer, words.byteOffset, 2 * words.length);
  const places = Array.from({ length: headDim }, (_, element) => rowCodePlace(bits, element));
  const numbers = new Float32Array(rows * headDim);
  for (let row = 0; row < rows; row++) {
    places.forEach(({ word, shift }, element) => {
      const code = (words[row * rowWords + word]! >>> shift) & (2 ** bits - 1);
      const group = 2 * (row * rowWords + codeWords + Math.floor(element / QUANTIZED_GROUP));
      numbers[row * headDim + element] = halves[group + 1]! + halves[group]! * code;
    });
  }
  return numbers;
}
