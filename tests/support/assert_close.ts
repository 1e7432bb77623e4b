/**
 * Compares numbers within what rounding allows.
 *
 * @module
 */

/** What the allowance is computed from. */
export interface Allowance {
  /** Additions that one element takes. */
  readonly terms: number;
  /** Largest absolute partial sum. */
  readonly magnitude: number;
}

/**
 * Fails unless every element is within `4 * 2^-23 * terms * magnitude` of what is expected.
 *
 * @param actual Elements as computed in f32.
 * @param expected Elements as computed in f64.
 * @param allowance Where the rounding errors come from.
 * @throws {Error} With the worst element; a NaN is worse than any number.
 */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  allowance: Allowance,
): void {
  if (actual.length !== expected.length) {
    throw new Error(`Length must be ${expected.length}: current length is ${actual.length}`);
  }
  const limit = 4 * 2 ** -23 * allowance.terms * allowance.magnitude;
  let worst = { index: -1, difference: 0 };
  let count = 0;
  for (let index = 0; index < expected.length; index++) {
    const difference = actual[index] === expected[index]
      ? 0
      : Math.abs(actual[index]! - expected[index]!);
    if (difference <= limit) continue;
    count += 1;
    if (Number.isNaN(worst.difference) || difference <= worst.difference) continue;
    worst = { index, difference };
  }
  if (count === 0) return;
  const { index, difference } = worst;
  throw new Error(
    `Elements must differ by at most ${limit}: ${count} of ${expected.length} differ by more, worst is [${index}] by ${difference}: actual ${
      actual[index]
    }, expected ${expected[index]}`,
  );
}
