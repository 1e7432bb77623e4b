/**
 * Where the packers write: planes of a device format, and the place of one row in them.
 *
 * @module
 */

import {
  BLOCK_COLUMNS,
  paddedColumns,
  PANEL_ROWS,
  SUPER_BLOCKS,
  VALUE_VECTORS,
  type WeightFormat,
  type WeightPlanes,
} from "../../kernels/weight_format.ts";

/** Words between the vectors of one row. */
export const VECTOR_STEP = 4 * PANEL_ROWS;

/** Planes with the views that packers write through. */
export interface PackTarget {
  /** Format of the planes. */
  readonly format: WeightFormat;
  /** Columns of the matrix, without padding. */
  readonly columns: number;
  /** Blocks per row. */
  readonly blocks: number;
  /** The weights or their low bits. */
  readonly values: Uint32Array<ArrayBuffer>;
  /** Scales and minima as bits; empty if the format has none. */
  readonly scales: Uint32Array<ArrayBuffer>;
  /** The same memory as numbers, scale first. */
  readonly halves: Float16Array<ArrayBuffer>;
  /** What scales are multiplied with, as bits; empty if the format has none. */
  readonly supers: Uint32Array<ArrayBuffer>;
  /** Bits above the fourth; empty if the format has none. */
  readonly high: Uint32Array<ArrayBuffer>;
}

/** Rows of one tensor in the bytes of a file, seen as words of each size. */
export interface PackSource {
  /** The bytes as 16-bit words. */
  readonly words16: Uint16Array<ArrayBuffer>;
  /** The same memory as halves. */
  readonly halves: Float16Array<ArrayBuffer>;
  /** The same memory as 32-bit words; what follows the last whole word is left out. */
  readonly words32: Uint32Array<ArrayBuffer>;
}

/** Packs one row of blocks: from the byte `start` of the source into row `row` of the target. */
export type RowPacker = (
  source: PackSource,
  target: PackTarget,
  place: { readonly start: number; readonly row: number },
) => void;

/**
 * Prepares planes to be packed into.
 *
 * @param format Format of the planes.
 * @param planes The planes.
 * @param columns Columns of the matrix.
 * @returns The same memory behind views.
 */
export function packTarget(
  format: WeightFormat,
  planes: WeightPlanes,
  columns: number,
): PackTarget {
  const none = new Uint32Array(0);
  const { values, scales = none, supers = none, high = none } = planes;
  const blocks = paddedColumns(columns) / BLOCK_COLUMNS;
  const halves = new Float16Array(scales.buffer, scales.byteOffset, 2 * scales.length);
  return { format, columns, blocks, values, scales, halves, supers, high };
}

/**
 * Prepares the bytes of a file to be packed from, copying them only if they begin at an odd place.
 *
 * @param data Whole rows.
 * @returns The same bytes behind views.
 */
export function packSource(data: Uint8Array<ArrayBuffer>): PackSource {
  const aligned = data.byteOffset % 4 === 0 ? data : data.slice();
  const { buffer, byteOffset, byteLength } = aligned;
  return {
    words16: new Uint16Array(buffer, byteOffset, byteLength >> 1),
    halves: new Float16Array(buffer, byteOffset, byteLength >> 1),
    words32: new Uint32Array(buffer, byteOffset, byteLength >> 2),
  };
}

/**
 * First scale word of a row; those of the following blocks are 8 words apart.
 *
 * @param target Planes.
 * @param row Row of the matrix.
 * @returns Index into `scales`.
 */
export function firstScale(target: PackTarget, row: number): number {
  const lane = row % PANEL_ROWS;
  return (row - lane) * target.blocks + lane;
}

/**
 * Supers word of the first super-block of a row; those of the following super-blocks are 8 words apart.
 *
 * @param target Planes.
 * @param row Row of the matrix.
 * @returns Index into `supers`.
 */
export function firstSuper(target: PackTarget, row: number): number {
  const lane = row % PANEL_ROWS;
  return (row - lane) * target.blocks / SUPER_BLOCKS + lane;
}

/**
 * First values word of a row; blocks are `VECTOR_STEP` words times the vectors of a block apart.
 *
 * @param target Planes.
 * @param row Row of the matrix.
 * @returns Index into `values`.
 */
export function firstValue(target: PackTarget, row: number): number {
  const lane = row % PANEL_ROWS;
  return ((row - lane) * target.blocks * VALUE_VECTORS[target.format] + lane) * 4;
}
