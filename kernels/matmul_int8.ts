/**
 * What activations of 8 bits are, and the twin of products with them: see `matmul_int8.as`.
 *
 * Each row is rounded in blocks of 32 columns. The scale of a block is its largest magnitude over 127, and each activation
 * becomes the nearest integer, the even one of two, of its quotient. Blocks whose largest magnitude is below 2^-100 count
 * as zeros. Products of integers are exact, so that a product differs from its twin only by the rounding of sums of blocks.
 *
 * @module
 */

import { BLOCK_COLUMNS } from "./weights/format.ts";

/** Largest integer of 8 bits whose negative is one as well. */
const LARGEST = 127;

/** Blocks below count as zeros. */
const SMALLEST = 2 ** -100;

/** Where activations lie. */
export interface ActivationRows {
  /** Rows. */
  readonly rows: number;
  /** Columns, a multiple of 32. */
  readonly columns: number;
  /** Elements from one row to the next. */
  readonly stride: number;
}

/**
 * Rounds activations as the CPU device does with `activationBits: 8`.
 *
 * @param input f32 [rows, stride].
 * @param shape Its rows and columns.
 * @returns What they become, [rows, stride]; zeros behind the columns, NaN in blocks that have some or infinity.
 */
export function roundedToInt8(
  input: Float32Array,
  { rows, columns, stride }: ActivationRows,
): Float64Array {
  const rounded = new Float64Array(rows * stride);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column += BLOCK_COLUMNS) {
      const start = row * stride + column;
      const block = input.subarray(start, start + BLOCK_COLUMNS);
      rounded.set(roundedBlock(block), start);
    }
  }
  return rounded;
}

function roundedBlock(block: Float32Array): Float64Array {
  if (!block.every(Number.isFinite)) return new Float64Array(block.length).fill(NaN);
  const largest = Math.max(...block.map(Math.abs));
  if (largest < SMALLEST) return new Float64Array(block.length);
  const scale = Math.fround(largest / LARGEST);
  const factor = Math.fround(LARGEST / largest);
  return Float64Array.from(block, (value) => scale * nearestEven(Math.fround(value * factor)));
}

function nearestEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest === 0.5) return below % 2 === 0 ? below : below + 1;
  return rest < 0.5 ? below : below + 1;
}
