/**
 * Similarities of saliency vectors and of salient sets.
 *
 * @module
 */

import { checkInteger, checkLength, RequirementError } from "../core/check.ts";

/**
 * Computes the cosine of the angle between two vectors, in float64.
 *
 * @param a A vector.
 * @param b A vector of the same length.
 * @returns A number in [-1, 1]; 0 if either vector is all zeros.
 * @throws {RequirementError} If the lengths differ.
 * @throws {RequirementError} If an entry is NaN or infinite.
 */
export function cosineSimilarity(a: ArrayLike<number>, b: ArrayLike<number>): number {
  checkLength("compare vectors", "the second vector", { required: a.length, current: b.length });
  let [product, squaresA, squaresB] = [0, 0, 0];
  for (let index = 0; index < a.length; index++) {
    const [left, right] = [a[index]!, b[index]!];
    product += left * right;
    squaresA += left * left;
    squaresB += right * right;
  }
  if (!Number.isFinite(squaresA + squaresB)) {
    throw new RequirementError({
      action: "compare vectors",
      requirement: "entries must be finite",
      current: Array.from([a, b], (vector) => Array.from(vector).find((x) => !Number.isFinite(x)))
        .find((value) => value !== undefined),
    });
  }
  if (squaresA === 0 || squaresB === 0) return 0;
  const cosine = product / (Math.sqrt(squaresA) * Math.sqrt(squaresB));
  return Math.max(-1, Math.min(1, cosine));
}

/**
 * Computes |a ∩ b| / |a ∪ b| of two sets, equation (2) of the paper.
 *
 * @param a Members of the first set; repetitions count once.
 * @param b Members of the second set.
 * @returns A number in [0, 1]; 1 for two empty sets, which are equal.
 */
export function jaccardSimilarity(a: Iterable<number>, b: Iterable<number>): number {
  const first = new Set(a);
  const second = new Set(b);
  let shared = 0;
  for (const member of first) if (second.has(member)) shared++;
  const united = first.size + second.size - shared;
  return united === 0 ? 1 : shared / united;
}

/**
 * Finds the tokens with the largest saliency; ties go to the earlier token (D-7).
 *
 * @example
 * ```ts
 * import { jaccardSimilarity, salientTokens } from "./similarity.ts";
 *
 * const first = salientTokens([5, 1, 3, 3], 2); // 0, 2
 * const second = salientTokens([4, 4, 0, 1], 2); // 0, 1
 * console.log(jaccardSimilarity(first, second)); // 1 of 3
 * ```
 * @param saliency Saliency of each token.
 * @param count How many tokens to take.
 * @returns Their positions, ascending.
 * @throws {RequirementError} If an entry is NaN or there are fewer tokens than `count`.
 */
export function salientTokens(saliency: ArrayLike<number>, count: number): Uint32Array {
  const tokens = saliency.length;
  checkInteger("choose salient tokens", "count", { value: count, min: 0, max: tokens });
  const sorted = sortedSaliency(saliency);
  const positions = new Uint32Array(count);
  if (count === 0) return positions;
  const threshold = sorted[tokens - count]!;
  let free = count - countAbove(saliency, threshold);
  let filled = 0;
  for (let position = 0; position < tokens; position++) {
    const value = saliency[position]!;
    if (value > threshold || (value === threshold && free-- > 0)) positions[filled++] = position;
  }
  return positions;
}

/**
 * Converts a share of tokens into a count, floor(tau * n) as in the paper, without the rounding errors of binary fractions
 * (floor(0.29 * 100) is 28).
 *
 * @param ratio Share, in [0, 1].
 * @param tokens Number of tokens.
 * @returns The largest integer that does not exceed the exact product.
 * @throws {RequirementError} If the ratio lies outside [0, 1].
 */
export function shareOfTokens(ratio: number, tokens: number): number {
  if (!(ratio >= 0 && ratio <= 1)) {
    throw new RequirementError({
      action: "convert a share of tokens",
      requirement: "ratio must lie in [0, 1]",
      current: ratio,
    });
  }
  checkInteger("convert a share of tokens", "tokens", { value: tokens, min: 0 });
  return Math.floor(ratio * tokens + 1e-9);
}

function sortedSaliency(saliency: ArrayLike<number>): Float64Array {
  const sorted = Float64Array.from(saliency).sort();
  // Typed arrays sort NaN to the end.
  if (Number.isNaN(sorted.at(-1))) {
    throw new RequirementError({
      action: "choose salient tokens",
      requirement: "saliency must be a number",
      state: `value is NaN at token ${Array.from(saliency).findIndex(Number.isNaN)}`,
    });
  }
  return sorted;
}

function countAbove(saliency: ArrayLike<number>, threshold: number): number {
  let above = 0;
  for (let index = 0; index < saliency.length; index++) if (saliency[index]! > threshold) above++;
  return above;
}
