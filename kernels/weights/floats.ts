/**
 * Shared by plain floats: vectors of neighboring elements.
 *
 * @module
 */

import { BLOCK_COLUMNS, type BlockReader, ROWS_PER_PANEL } from "./format.ts";
import type { StoredType } from "./packing.ts";

/** Makes the reader of vectors of 16 bytes that hold `perVector` floats each. */
export function floatReader(
  floats: Float32Array | Float16Array,
  perVector: number,
): BlockReader {
  return (target, { column, value }) => {
    const start = value / 4 * perVector;
    for (let i = 0; i < BLOCK_COLUMNS; i++) {
      const vector = Math.floor(i / perVector) * ROWS_PER_PANEL;
      target[column + i] = floats[start + vector * perVector + i % perVector]!;
    }
  };
}

/** Copies a row of elements to vectors that are `ROWS_PER_PANEL` vectors apart. */
export function copyRow(
  source: { readonly [index: number]: number },
  target: { [index: number]: number },
  row: {
    readonly from: number;
    readonly to: number;
    readonly perVector: number;
    readonly count: number;
  },
): void {
  const { from, perVector, count } = row;
  const step = perVector * ROWS_PER_PANEL;
  for (let first = 0, to = row.to; first < count; first += perVector, to += step) {
    const size = Math.min(perVector, count - first);
    for (let i = 0; i < size; i++) target[to + i] = source[from + first + i]!;
  }
}

/** Packs a row of 16-bit floats as they are. */
export const packHalves: StoredType["packRow"] = (source, target, { byte, value }) => {
  const { columns, values } = target;
  if (columns % 2 === 0) { // two at a time; an even row is aligned to 32 bits
    const row = { from: byte / 4, to: value, perVector: 4, count: columns / 2 };
    copyRow(source.words32, values, row);
  } else {
    const halves = new Uint16Array(values.buffer, values.byteOffset, 2 * values.length);
    copyRow(source.words16, halves, {
      from: byte / 2,
      to: 2 * value,
      perVector: 8,
      count: columns,
    });
  }
};
