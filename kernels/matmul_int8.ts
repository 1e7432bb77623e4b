/**
 * What activations of 8 bits are: see `matmul_int8.as` and `int8_activations.wgsl`.
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
 * Rounds activations as devices do with `activationBits: 8`.
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
      const { scale, integers } = int8Block(block);
      rounded.set(Float64Array.from(integers, (integer) => scale * integer), start);
    }
  }
  return rounded;
}

/**
 * Rounds a block of activations.
 *
 * @param block f32 [32].
 * @returns Its scale, and the integers; zeros and a scale of NaN if some activation is not finite.
 */
export function int8Block(
  block: Float32Array,
): { readonly scale: number; readonly integers: Int8Array } {
  const zeros = new Int8Array(block.length);
  if (!block.every(Number.isFinite)) return { scale: NaN, integers: zeros };
  const largest = Math.max(...block.map(Math.abs));
  if (largest < SMALLEST) return { scale: 0, integers: zeros };
  const scale = Math.fround(largest / LARGEST);
  const factor = Math.fround(LARGEST / largest);
  return { scale, integers: Int8Array.from(block, (x) => nearestEven(Math.fround(x * factor))) };
}

function nearestEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest === 0.5) return below % 2 === 0 ? below : below + 1;
  return rest < 0.5 ? below : below + 1;
}
