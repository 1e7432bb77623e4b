/**
 * Packers for plain floats, and the check that packed weights are finite.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import { PANEL_ROWS, SUPER_BLOCKS, VALUE_VECTORS } from "../../kernels/weight_format.ts";
import { firstValue, type PackTarget, type RowPacker } from "./packing_target.ts";

/** 32-bit floats as they are. */
export const packFloatRow: RowPacker = (source, target, { start, row }) => {
  const place = { from: start / 4, to: firstValue(target, row) };
  copyElements(source.words32, target.values, { ...place, perVector: 4, count: target.columns });
};

/** f16 or bf16 as they are. */
export const packHalfRow: RowPacker = (source, target, { start, row }) => {
  const to = firstValue(target, row);
  const { columns } = target;
  if (columns % 2 === 0) { // two at a time; an even row begins at a whole word
    const place = { from: start / 4, to, perVector: 4, count: columns / 2 };
    copyElements(source.words32, target.values, place);
  } else {
    const { buffer, byteOffset, length } = target.values;
    const halves = new Uint16Array(buffer, byteOffset, 2 * length);
    const place = { from: start / 2, to: 2 * to, perVector: 8, count: columns };
    copyElements(source.words16, halves, place);
  }
};

/** 32-bit floats rounded to f16. */
export const packRoundedRow: RowPacker = (source, target, { start, row }) => {
  const { buffer, byteOffset, byteLength } = source.words32;
  const floats = new Float32Array(buffer, byteOffset, byteLength / 4);
  const { values } = target;
  const halves = new Float16Array(values.buffer, values.byteOffset, 2 * values.length);
  const place = { from: start / 4, to: 2 * firstValue(target, row), perVector: 8 };
  copyElements(floats, halves, { ...place, count: target.columns });
};

/** Copies neighboring elements to vectors that are `PANEL_ROWS` vectors apart. */
function copyElements(
  source: { readonly [index: number]: number },
  target: { [index: number]: number },
  place: {
    readonly from: number;
    readonly to: number;
    readonly perVector: number;
    readonly count: number;
  },
): void {
  const { from, perVector, count } = place;
  const step = perVector * PANEL_ROWS;
  for (let first = 0, to = place.to; first < count; first += perVector, to += step) {
    const size = Math.min(perVector, count - first);
    for (let i = 0; i < size; i++) target[to + i] = source[from + first + i]!;
  }
}

/**
 * Throws unless the floats of packed rows are finite: weights, or the scales and minima of blocks.
 *
 * @param target Packed planes.
 * @param rows Which rows, and what could not be done.
 * @throws {DataError} If a weight would be NaN or infinite.
 */
export function checkFinite(
  target: PackTarget,
  rows: { readonly action: string; readonly firstRow: number; readonly rows: number },
): void {
  const { words, perBlock } = floatWords(target);
  const { format, blocks } = target;
  const kind = format in EXPONENTS ? format as keyof typeof EXPONENTS : "f16";
  const { mask, one, carry } = EXPONENTS[kind];
  const panelWords = PANEL_ROWS * blocks * perBlock;
  const firstPanel = Math.floor(rows.firstRow / PANEL_ROWS);
  const end = panelWords * Math.ceil((rows.firstRow + rows.rows) / PANEL_ROWS);
  let carries = 0;
  for (let i = panelWords * firstPanel; i < end; i++) carries |= (words[i]! & mask) + one;
  if ((carries & carry) === 0) return;
  throw new DataError(
    `Cannot ${rows.action}: weights must be finite: current value is NaN or infinite, or too large for ${format}`,
  );
}

/** The plane that may hold floats that are not finite, and its words per row and block. */
function floatWords(
  { format, values, scales, supers }: PackTarget,
): { readonly words: Uint32Array; readonly perBlock: number } {
  if (supers.length > 0) return { words: supers, perBlock: 1 / SUPER_BLOCKS };
  if (scales.length > 0) return { words: scales, perBlock: 1 };
  return { words: values, perBlock: 4 * VALUE_VECTORS[format] };
}

/** Adding `one` to an exponent of all ones, which only NaN and infinity have, carries into the sign's bit. */
const EXPONENTS = {
  f32: { mask: 0x7f800000, one: 0x00800000, carry: 0x80000000 },
  f16: { mask: 0x7c007c00, one: 0x04000400, carry: 0x80008000 },
  q6: { mask: 0x7c000000, one: 0x04000000, carry: 0x80000000 },
  bf16: { mask: 0x7f807f80, one: 0x00800080, carry: 0x80008000 },
} as const;
