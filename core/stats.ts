/**
 * Means, quantiles and the normal distribution.
 *
 * @module
 */

import { mean as simpleMean, quantileSorted } from "simple-statistics";
import { checkInteger, RequirementError } from "./check.ts";

/**
 * Averages numbers.
 *
 * @param values At least one number.
 * @throws {RequirementError} If there are no values.
 */
export function mean(values: ArrayLike<number>): number {
  checkInteger("average", "values.length", { value: values.length, min: 1 });
  return simpleMean(Array.from(values));
}

/**
 * Finds the middle value.
 *
 * @param values At least one number, in any order.
 * @returns The median; of an even count the mean of the two middle values.
 */
export function median(values: ArrayLike<number>): number {
  return quantile(values, 0.5);
}

/**
 * Finds a quantile, with linear interpolation between order statistics (type 7, NumPy's default).
 *
 * @param values At least one number, in any order.
 * @param fraction Share of the values at or below the result, in [0, 1].
 * @throws {RequirementError} If there are no values or the fraction lies outside [0, 1].
 */
export function quantile(values: ArrayLike<number>, fraction: number): number {
  return sortedQuantile(Float64Array.from(values).sort(), fraction);
}

/**
 * Finds a quantile of values that are already in ascending order.
 *
 * @param sorted At least one number, ascending.
 * @param fraction Share of the values at or below the result, in [0, 1].
 * @returns The quantile (type 7).
 * @throws {RequirementError} If there are no values or the fraction lies outside [0, 1].
 */
export function sortedQuantile(sorted: ArrayLike<number>, fraction: number): number {
  checkInteger("find a quantile", "values.length", { value: sorted.length, min: 1 });
  if (!(fraction >= 0 && fraction <= 1)) {
    throw new RequirementError({
      action: "find a quantile",
      requirement: "fraction must lie in [0, 1]",
      current: fraction,
    });
  }
  return quantileSorted(sorted as number[], fraction);
}

/**
 * Computes the probability that a standard normal variable lies below a value.
 *
 * @returns The probability, with an absolute error below 1e-14.
 */
export function normalCdf(value: number): number {
  if (value < -9) return 0;
  if (value > 9) return 1;
  // Marsaglia's series: 1/2 + density * (x + x^3/3 + x^5/15 + ...)
  let term = value;
  let sum = value;
  for (let odd = 3; Math.abs(term) > 1e-17 * Math.abs(sum); odd += 2) {
    term *= value * value / odd;
    sum += term;
  }
  return 0.5 + sum * normalDensity(value);
}

/**
 * Inverts `normalCdf`.
 *
 * @returns The value below which a standard normal variable lies with this probability.
 * @throws {RequirementError} If the probability lies outside (0, 1).
 */
export function normalQuantile(probability: number): number {
  if (!(probability > 0 && probability < 1)) {
    throw new RequirementError({
      action: "find a normal quantile",
      requirement: "probability must lie in (0, 1)",
      current: probability,
    });
  }
  let [low, high] = [-9, 9];
  while (high - low > 1e-13) {
    const middle = (low + high) / 2;
    if (normalCdf(middle) < probability) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

function normalDensity(value: number): number {
  return Math.exp(-value * value / 2) / Math.sqrt(2 * Math.PI);
}
