/**
 * How well one number predicts another: rank correlation, and linear fits judged on items they have not seen.
 *
 * @see docs/method.md, "Scores and comparisons"
 * @module
 */

import { checkInteger, checkLength, RequirementError } from "../core/check.ts";

/**
 * Computes Spearman's rank correlation; equal values share their mean rank.
 *
 * @returns The correlation in [-1, 1]; NaN if either list is constant.
 * @throws {RequirementError} If the lists differ in length or have fewer than two values.
 */
export function rankCorrelation(first: ArrayLike<number>, second: ArrayLike<number>): number {
  const action = "correlate";
  checkInteger(action, "values", { value: first.length, min: 2 });
  checkLength(action, "second", { required: first.length, current: second.length });
  const [a, b] = [centered(ranks(first)), centered(ranks(second))];
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

/**
 * Ranks values from 1; equal ones share their mean rank.
 */
export function ranks(values: ArrayLike<number>): Float64Array {
  const order = Uint32Array.from({ length: values.length }, (_, index) => index)
    .sort((a, b) => values[a]! - values[b]!);
  const ranked = new Float64Array(values.length);
  for (let start = 0; start < order.length;) {
    let end = start + 1;
    while (end < order.length && values[order[end]!] === values[order[start]!]) end++;
    for (let place = start; place < end; place++) ranked[order[place]!] = (start + end + 1) / 2;
    start = end;
  }
  return ranked;
}

/** A linear predictor. */
export interface LinearFit {
  /** Prediction where all features are 0. */
  readonly intercept: number;
  /** One coefficient for each feature. */
  readonly coefficients: readonly number[];
}

/**
 * Fits a line by least squares with a penalty on the coefficients of standardized features (ridge regression).
 *
 * @param features Values of the features, [rows][features].
 * @param targets What is predicted, [rows].
 * @param penalty Added to the diagonal, above 0: it counts like so many rows that say nothing. 1 if left out.
 * @returns The fit for features as they were given; the coefficient of a constant feature is 0.
 * @throws {RequirementError} If the lists differ in length, there are no rows, or a value or the penalty is unusable.
 * @see {@link https://doi.org/10.1080/00401706.1970.10488634 | Hoerl and Kennard 1970, Ridge Regression}
 */
export function ridgeFit(
  features: readonly ArrayLike<number>[],
  targets: ArrayLike<number>,
  penalty: number = 1,
): LinearFit {
  checkRows(features, targets);
  if (!(penalty > 0)) {
    throw new RequirementError({
      action: "predict",
      requirement: "the penalty must be above 0",
      current: penalty,
    });
  }
  const width = features[0]!.length;
  const columns = Array.from({ length: width }, (_, column) => {
    const values = Float64Array.from(features, (row) => row[column]!);
    const center = average(values);
    const apart = centered(values);
    const spread = Math.sqrt(dot(apart, apart) / apart.length);
    const isConstant = spread <= 1e-12 * Math.abs(center);
    return { center, spread, scaled: apart.map((value) => isConstant ? 0 : value / spread) };
  });
  const target = centered(targets);
  const matrix = columns.map((row, index) =>
    columns.map((column, other) => dot(row.scaled, column.scaled) + (index === other ? penalty : 0))
  );
  const scaled = solve(matrix, columns.map((column) => dot(column.scaled, target)));
  const coefficients = columns.map(({ spread }, index) =>
    scaled[index] === 0 ? 0 : scaled[index]! / spread
  );
  const shift = columns.reduce((sum, { center }, index) => sum + center * coefficients[index]!, 0);
  return { intercept: average(targets) - shift, coefficients };
}

/** Predicts one row. */
export function predict(fit: LinearFit, row: ArrayLike<number>): number {
  return fit.coefficients.reduce((sum, slope, index) => sum + slope * row[index]!, fit.intercept);
}

/** Predictions of rows that a fit has not seen. */
export interface HeldOut {
  /** Prediction of each row, by a fit to the rows of other items. */
  readonly predictions: Float64Array;
  /** Mean of the targets that the same fit saw: what a predictor without features says. */
  readonly means: Float64Array;
}

/**
 * Predicts every row by a fit to the rows of other items, so that nothing of an item is known beforehand.
 *
 * @param features Values of the features, [rows][features].
 * @param targets What is predicted, [rows].
 * @param items Item of each row; its rows are held out together, one item after the other.
 * @param penalty See {@link ridgeFit}.
 * @throws {RequirementError} As {@link ridgeFit}, or if there are fewer than two items.
 */
export function heldOutPredictions(
  features: readonly ArrayLike<number>[],
  targets: ArrayLike<number>,
  { items, penalty }: { readonly items: readonly string[]; readonly penalty?: number },
): HeldOut {
  checkRows(features, targets);
  checkLength("predict", "items", { required: targets.length, current: items.length });
  const groups = Map.groupBy(items.keys(), (row) => items[row]!);
  checkInteger("predict", "different items", { value: groups.size, min: 2 });
  const predictions = new Float64Array(targets.length);
  const means = new Float64Array(targets.length);
  for (const [item, rows] of groups) {
    const others = [...items.keys()].filter((row) => items[row] !== item);
    const known = others.map((row) => targets[row]!);
    const fit = ridgeFit(others.map((row) => features[row]!), known, penalty);
    for (const row of rows) {
      predictions[row] = predict(fit, features[row]!);
      means[row] = average(known);
    }
  }
  return { predictions, means };
}

function checkRows(features: readonly ArrayLike<number>[], targets: ArrayLike<number>): void {
  checkInteger("predict", "rows", { value: features.length, min: 1 });
  checkLength("predict", "targets", { required: features.length, current: targets.length });
  for (const [index, row] of features.entries()) {
    checkLength("predict", `row ${index}`, {
      required: features[0]!.length,
      current: row.length,
    });
    const broken = [...Array.from(row), targets[index]!].find((value) => !Number.isFinite(value));
    if (broken === undefined) continue;
    throw new RequirementError({
      action: "predict",
      requirement: "values must be finite",
      state: `row ${index} has ${broken}`,
    });
  }
}

function average(values: ArrayLike<number>): number {
  return Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;
}

function centered(values: ArrayLike<number>): Float64Array {
  const center = average(values);
  return Float64Array.from(values, (value) => value - center);
}

function dot(first: Float64Array, second: Float64Array): number {
  return first.reduce((sum, value, index) => sum + value * second[index]!, 0);
}

/** Gaussian elimination, which needs no pivots since the matrix is positive definite. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] {
  const rows = matrix.map((row, index) => [...row, right[index]!]);
  const size = rows.length;
  rows.forEach((above, column) => {
    for (const row of rows.slice(column + 1)) {
      const factor = row[column]! / above[column]!;
      for (let place = column; place <= size; place++) row[place]! -= factor * above[place]!;
    }
  });
  const solution = new Array<number>(size).fill(0);
  for (let row = size - 1; row >= 0; row--) {
    let rest = rows[row]![size]!;
    for (let place = row + 1; place < size; place++) rest -= rows[row]![place]! * solution[place]!;
    solution[row] = rest / rows[row]![row]!;
  }
  return solution;
}
