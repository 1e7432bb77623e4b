/**
 * How weight matrices lie on the device: formats, planes, sizes, and their meaning as numbers.
 *
 * A matrix [rows, columns] is padded with zeros to `rows % 8 == 0` and `columns % 32 == 0` and kept in panels
 * of 8 rows, so that 8 lanes that each own a row read adjacent 16-byte vectors. With `blocks = columns / 32`:
 *
 * | format | values: `[rows / 8][blocks][vectors][8]` of 4 words | scales: `[rows / 8][blocks][8]` words | high |
 * | --- | --- | --- | --- |
 * | f32 | 8 vectors of 4 floats | | |
 * | f16, bf16 | 4 vectors of 8 halves | | |
 * | q8 | 2 vectors; byte b of word j is weight 4j + b, signed | f16 scale | |
 * | q4, q5, q4k, q5k, q6 | 1 vector; byte b of word j: low nibble weight 4j + b, high nibble weight 16 + 4j + b | f16 scale, f16 minimum; q6: int8 scale of each 16 weights, f16 they are multiplied with | |
 * | q5, q5k | | | 1 word; bit q of byte b is the fifth bit of weight 4q + b |
 * | q6 | | | 2 words, one for each 16 weights; bits 2q and 2q + 1 of byte b are the upper bits of weight 4q + b |
 *
 * A weight is `scale * q + minimum` in q4, q5, q4k and q5k, `scale * q` in q8, `scale * (q - 32)` in q6.
 *
 * The formats that end in k keep the two factors of a scale and of a minimum, because their product does not fit a
 * half: `scales` holds a small integer for each block, and a plane `supers: [rows / 8][columns / 256][8]` words
 * two halves that the two halves of scales are multiplied with. Their columns are a multiple of 256.
 *
 * @module
 */

import { checkLength } from "../core/check.ts";

/** Formats a matrix may have on the device. */
export type WeightFormat =
  | "f32"
  | "f16"
  | "bf16"
  | "q8"
  | "q6"
  | "q5k"
  | "q5"
  | "q4k"
  | "q4";

/** Every format, in the order of the bits they hold. */
export const WEIGHT_FORMATS: readonly WeightFormat[] = [
  "f32",
  "f16",
  "bf16",
  "q8",
  "q6",
  "q5k",
  "q5",
  "q4k",
  "q4",
];

/** Rows of a panel; each is read by one lane. */
export const PANEL_ROWS = 8;

/** Columns of a block; a quantized block has its own scale. */
export const BLOCK_COLUMNS = 32;

/** Columns that share a word of the supers plane. */
export const SUPER_COLUMNS = 256;

/** Blocks that share a word of the supers plane. */
export const SUPER_BLOCKS: number = SUPER_COLUMNS / BLOCK_COLUMNS;

/** 16-byte vectors of the values plane per row and block. */
export const VALUE_VECTORS: Readonly<Record<WeightFormat, number>> = {
  f32: 8,
  f16: 4,
  bf16: 4,
  q8: 2,
  q6: 1,
  q5k: 1,
  q5: 1,
  q4k: 1,
  q4: 1,
};

/** Words of the scales plane per row and block. */
export const SCALE_WORDS: Readonly<Record<WeightFormat, number>> = {
  f32: 0,
  f16: 0,
  bf16: 0,
  q8: 1,
  q6: 1,
  q5k: 1,
  q5: 1,
  q4k: 1,
  q4: 1,
};

/** Words of the high plane per row and block. */
export const HIGH_WORDS: Readonly<Record<WeightFormat, number>> = {
  f32: 0,
  f16: 0,
  bf16: 0,
  q8: 0,
  q6: 2,
  q5k: 1,
  q5: 1,
  q4k: 0,
  q4: 0,
};

/** Whether the scales of a format are multiplied with those of the supers plane. */
export function hasSupers(format: WeightFormat): boolean {
  return format.endsWith("k");
}

/** Size of a matrix before padding. */
export interface MatrixShape {
  /** Rows; one output of a layer each. */
  readonly rows: number;
  /** Columns; one input of a layer each. */
  readonly columns: number;
}

/** A matrix in a device format, in host memory. */
export interface WeightPlanes {
  /** The weights or their low bits. */
  readonly values: Uint32Array<ArrayBuffer>;
  /** Scales and minima; absent if the format has none. */
  readonly scales?: Uint32Array<ArrayBuffer>;
  /** What scales are multiplied with; absent if the format has none. */
  readonly supers?: Uint32Array<ArrayBuffer>;
  /** Bits above the fourth; absent if the format has none. */
  readonly high?: Uint32Array<ArrayBuffer>;
}

/** Number of 32-bit words of each plane. */
export interface PlaneWords {
  /** Words of `values`. */
  readonly values: number;
  /** Words of `scales`, 0 if there is none. */
  readonly scales: number;
  /** Words of `supers`, 0 if there is none. */
  readonly supers: number;
  /** Words of `high`, 0 if there is none. */
  readonly high: number;
}

/** Rounds a number of rows up to whole panels. */
export function paddedRows(rows: number): number {
  return Math.ceil(rows / PANEL_ROWS) * PANEL_ROWS;
}

/** Rounds a number of columns up to whole blocks. */
export function paddedColumns(columns: number): number {
  return Math.ceil(columns / BLOCK_COLUMNS) * BLOCK_COLUMNS;
}

/**
 * Counts the words of each plane of a matrix, padding included.
 *
 * @param format Format of the matrix.
 * @param shape Its size.
 * @returns Words per plane.
 * @throws {RangeError} If the format has super-blocks and the columns are not a multiple of 256.
 */
export function planeWords(format: WeightFormat, shape: MatrixShape): PlaneWords {
  if (hasSupers(format) && shape.columns % SUPER_COLUMNS !== 0) {
    throw new RangeError(
      `Cannot lay out ${format} weights: columns must be a multiple of ${SUPER_COLUMNS}: current value is ${shape.columns}`,
    );
  }
  const blocks = paddedRows(shape.rows) * paddedColumns(shape.columns) / BLOCK_COLUMNS;
  return {
    values: blocks * VALUE_VECTORS[format] * 4,
    scales: blocks * SCALE_WORDS[format],
    supers: hasSupers(format) ? blocks / SUPER_BLOCKS : 0,
    high: blocks * HIGH_WORDS[format],
  };
}

/** Makes the planes of a matrix of zeros. */
export function createPlanes(format: WeightFormat, shape: MatrixShape): WeightPlanes {
  const words = planeWords(format, shape);
  return {
    values: new Uint32Array(words.values),
    ...(words.scales > 0 && { scales: new Uint32Array(words.scales) }),
    ...(words.supers > 0 && { supers: new Uint32Array(words.supers) }),
    ...(words.high > 0 && { high: new Uint32Array(words.high) }),
  };
}

/**
 * Puts numbers into the f32, f16 or bf16 format, rounding to nearest, ties to even.
 *
 * @param format One of the formats without blocks.
 * @param weights Row-major [rows, columns].
 * @param shape Size of the matrix.
 * @returns Planes of the whole matrix.
 * @throws {TypeError} If `weights` has another length.
 */
export function packFloats(
  format: "f32" | "f16" | "bf16",
  weights: ArrayLike<number>,
  shape: MatrixShape,
): WeightPlanes {
  const { rows, columns } = shape;
  checkLength("pack floats", "weights", { required: rows * columns, current: weights.length });
  const planes = createPlanes(format, shape);
  const perVector = format === "f32" ? 4 : 8;
  const vectors = paddedColumns(columns) / perVector;
  const write = floatWriter(format, planes.values);
  for (let row = 0; row < rows; row++) {
    const panel = Math.floor(row / PANEL_ROWS) * vectors;
    for (let column = 0; column < columns; column++) {
      const vector = (panel + Math.floor(column / perVector)) * PANEL_ROWS + row % PANEL_ROWS;
      write(vector * perVector + column % perVector, weights[row * columns + column]!);
    }
  }
  return planes;
}

function floatWriter(
  format: "f32" | "f16" | "bf16",
  words: Uint32Array<ArrayBuffer>,
): (index: number, value: number) => void {
  const { buffer } = words;
  if (format === "bf16") {
    const halves = new Uint16Array(buffer);
    return (index, value) => halves[index] = bfloatBits(value);
  }
  const floats = format === "f32" ? new Float32Array(buffer) : new Float16Array(buffer);
  return (index, value) => floats[index] = value;
}

/** Rounds a number to bfloat16, ties to even, and gives its bits. */
export function bfloatBits(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0]!;
  if ((bits & 0x7f800000) === 0x7f800000) return bits >>> 16 | (bits & 0xffff ? 0x40 : 0);
  return (bits + 0x7fff + (bits >>> 16 & 1)) >>> 16 & 0xffff;
}
