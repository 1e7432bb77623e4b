/**
 * Systems of linear equations with a symmetric matrix that is positive semidefinite, in float64.
 *
 * @module
 */

import { checkLength } from "../core/check.ts";

/** Pivots below this share of their diagonal element are rounding: the column depends on earlier ones. */
const LEAST_PIVOT = 1e-12;

/**
 * Solves M x = b by Cholesky decomposition.
 *
 * @param matrix M, symmetric and positive semidefinite, [size, size]; its lower triangle is read.
 * @param right b, [size].
 * @returns x; 0 for unknowns whose columns depend on those of earlier ones, or are 0.
 * @throws {RequirementError} If the matrix does not have size * size elements.
 */
export function solvePositive(
  matrix: Float64Array,
  right: Float64Array,
): Float64Array<ArrayBuffer> {
  const size = right.length;
  checkLength("solve equations", "the matrix", {
    required: size * size,
    current: matrix.length,
  });
  const factor = new Float64Array(size * size);
  for (let row = 0; row < size; row++) {
    for (let column = 0; column <= row; column++) {
      let rest = matrix[row * size + column]!;
      for (let k = 0; k < column; k++) rest -= factor[row * size + k]! * factor[column * size + k]!;
      const pivot = factor[column * size + column]!;
      if (column < row) factor[row * size + column] = pivot > 0 ? rest / pivot : 0;
      else if (rest > LEAST_PIVOT * matrix[row * size + row]!) {
        factor[row * size + row] = Math.sqrt(rest);
      }
    }
  }
  const solution = Float64Array.from(right);
  for (let row = 0; row < size; row++) {
    const pivot = factor[row * size + row]!;
    for (let k = 0; k < row; k++) solution[row]! -= factor[row * size + k]! * solution[k]!;
    solution[row] = pivot > 0 ? solution[row]! / pivot : 0;
  }
  for (let row = size - 1; row >= 0; row--) {
    const pivot = factor[row * size + row]!;
    for (let k = row + 1; k < size; k++) solution[row]! -= factor[k * size + row]! * solution[k]!;
    solution[row] = pivot > 0 ? solution[row]! / pivot : 0;
  }
  return solution;
}
