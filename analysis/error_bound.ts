/**
 * Bounds on the error of marginal compensation, as in the paper's Appendix C.
 *
 * @module
 */

import { checkInteger, checkLength } from "../core/check.ts";

/** One query row before and after compensation. */
export interface CompensatedRow {
  /** Attention of the large model's head, [keys]. */
  readonly attention: ArrayLike<number>;
  /** Attention of the matched small head, [keys]. */
  readonly replacement: ArrayLike<number>;
  /** Positions whose attention is replaced. */
  readonly marginal: ArrayLike<number>;
  /** Values of the large model's KV head, [keys, headDim]. */
  readonly values: ArrayLike<number>;
  /** Elements of one value vector. */
  readonly headDim: number;
}

/** The error of one row and its bounds; e = replacement - attention on the marginal tokens. */
export interface CompensationError {
  /** Length of the change of the output, ‖Σ e_k v_k‖. */
  readonly error: number;
  /** Part of e along the original attention: e = alpha a + e⊥. */
  readonly alpha: number;
  /** Length of e⊥ relative to that of e; 0 if nothing changed. */
  readonly orthogonalShare: number;
  /** Root of Σ e² / Σ a²: relative error of the replaced attention. */
  readonly sigma: number;
  /** Longest value vector, over the marginal tokens. */
  readonly valueBound: number;
  /** Largest replaced attention, the appendix's theta. */
  readonly threshold: number;
  /** B Σ |e_k|: always holds. */
  readonly absoluteBound: number;
  /** B sigma sqrt(Σ a_k²): holds on average over independent errors. */
  readonly expectedBound: number;
  /** B sigma sqrt(theta Σ a_k): the appendix's last line, never below `expectedBound`. */
  readonly massBound: number;
}

/**
 * Computes the error of a compensated row and the appendix's bounds.
 *
 * The bounds apply to output that is not normalized again (the eq6 family).
 *
 * @param row The row.
 * @returns The error and its bounds; all 0 without marginal tokens.
 * @throws {RequirementError} If lengths do not fit.
 * @throws {RequirementError} If a marginal position is out of range.
 */
export function compensationError(row: CompensatedRow): CompensationError {
  checkRow(row);
  const { attention, replacement, values, headDim } = row;
  const marginal = Array.from(row.marginal);
  const change = new Float64Array(headDim);
  let [squares, mass, product, errorSquares, errorSum] = [0, 0, 0, 0, 0];
  let [valueBound, threshold] = [0, 0];
  for (const key of marginal) {
    const weight = attention[key]!;
    const difference = replacement[key]! - weight;
    squares += weight ** 2;
    mass += weight;
    product += difference * weight;
    errorSquares += difference ** 2;
    errorSum += Math.abs(difference);
    threshold = Math.max(threshold, weight);
    let lengthSquare = 0;
    for (let element = 0; element < headDim; element++) {
      const value = values[key * headDim + element]!;
      change[element]! += difference * value;
      lengthSquare += value ** 2;
    }
    valueBound = Math.max(valueBound, Math.sqrt(lengthSquare));
  }
  const alpha = squares === 0 ? 0 : product / squares;
  const sigma = squares === 0 ? 0 : Math.sqrt(errorSquares / squares);
  const orthogonal = Math.max(0, errorSquares - alpha * product);
  return {
    error: Math.hypot(...change),
    alpha,
    orthogonalShare: errorSquares === 0 ? 0 : Math.sqrt(orthogonal / errorSquares),
    sigma,
    valueBound,
    threshold,
    absoluteBound: valueBound * errorSum,
    expectedBound: valueBound * sigma * Math.sqrt(squares),
    massBound: valueBound * sigma * Math.sqrt(threshold * mass),
  };
}

function checkRow(row: CompensatedRow): void {
  const action = "bound the compensation error";
  const keys = row.attention.length;
  checkInteger(action, "headDim", { value: row.headDim, min: 1 });
  checkLength(action, "replacement", { required: keys, current: row.replacement.length });
  checkLength(action, "values", { required: keys * row.headDim, current: row.values.length });
  for (const value of Array.from(row.marginal)) {
    checkInteger(action, "marginal", { value, min: 0, max: keys - 1 });
  }
}
