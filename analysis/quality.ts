/**
 * How far a model with a compressed cache diverges from itself with the full one, step by step and without a judge.
 *
 * @module
 */

import { checkInteger, checkLength, RequirementError } from "../core/check.ts";
import { mean, median } from "../core/stats.ts";

/** One step at which both models were given the same tokens. */
export interface StepQuality {
  /** Divergence from the full cache, in nats. */
  readonly kl: number;
  /** Whether both would choose the same token. */
  readonly isSameChoice: boolean;
}

/** Summary of many steps; a few of them dominate the mean, so that the median is reported too. */
export interface QualitySummary {
  /** Steps that were compared. */
  readonly steps: number;
  /** Mean divergence, in nats. */
  readonly meanKl: number;
  /** Median divergence, in nats. */
  readonly medianKl: number;
  /** Share of the steps at which both choose the same token. */
  readonly sameChoiceShare: number;
}

/**
 * Computes the divergence of a distribution over tokens from a reference.
 *
 * Both are softmaxes, computed in float64: the sum of p * log(p / q), with p from the reference.
 *
 * @param reference Logits of the reference, [vocabulary].
 * @param logits Logits to compare, [vocabulary].
 * @returns The Kullback-Leibler divergence in nats, at least 0.
 * @throws {RequirementError} If the lengths differ.
 * @throws {RequirementError} If there are no logits or one is not finite.
 *
 * @example
 * ```ts
 * import { klDivergence } from "./quality.ts";
 * console.log(klDivergence([0, 0], [0, 0])); // 0
 * ```
 */
export function klDivergence(reference: ArrayLike<number>, logits: ArrayLike<number>): number {
  checkLogits(reference, logits);
  const [logSumReference, logSum] = [logSumExp(reference), logSumExp(logits)];
  let divergence = 0;
  for (let token = 0; token < reference.length; token++) {
    const logP = reference[token]! - logSumReference;
    divergence += Math.exp(logP) * (logP - (logits[token]! - logSum));
  }
  // Rounding can make the divergence of nearly equal distributions negative.
  return Math.max(0, divergence);
}

/**
 * Tells whether two distributions have the same most likely token; ties go to the smaller id.
 *
 * @param reference Logits of the reference, [vocabulary].
 * @param logits Logits to compare, [vocabulary].
 * @returns Whether greedy decoding would choose the same token.
 * @throws {RequirementError} If the lengths differ.
 * @throws {RequirementError} If there are no logits or one is not finite.
 */
export function topOneAgreement(
  reference: ArrayLike<number>,
  logits: ArrayLike<number>,
): boolean {
  checkLogits(reference, logits);
  return largestIndex(reference) === largestIndex(logits);
}

/**
 * Compares one step.
 *
 * @param reference Logits of the reference, [vocabulary].
 * @param logits Logits to compare, [vocabulary].
 * @returns Divergence and agreement.
 * @throws {RequirementError} If the lengths differ.
 * @throws {RequirementError} If there are no logits or one is not finite.
 */
export function stepQuality(reference: ArrayLike<number>, logits: ArrayLike<number>): StepQuality {
  return {
    kl: klDivergence(reference, logits),
    isSameChoice: topOneAgreement(reference, logits),
  };
}

/**
 * Summarizes many steps.
 *
 * @param steps At least one step.
 * @returns Mean, median and share.
 * @throws {RequirementError} If there are no steps.
 */
export function summarizeQuality(steps: readonly StepQuality[]): QualitySummary {
  checkInteger("summarize quality", "number of steps", { value: steps.length, min: 1 });
  const divergences = steps.map(({ kl }) => kl);
  return {
    steps: steps.length,
    meanKl: mean(divergences),
    medianKl: median(divergences),
    sameChoiceShare: steps.filter(({ isSameChoice }) => isSameChoice).length / steps.length,
  };
}

function checkLogits(reference: ArrayLike<number>, logits: ArrayLike<number>): void {
  checkInteger("compare logits", "size of the vocabulary", { value: reference.length, min: 1 });
  checkLength("compare logits", "the second row", {
    required: reference.length,
    current: logits.length,
  });
  for (const row of [reference, logits]) {
    for (let token = 0; token < row.length; token++) {
      if (Number.isFinite(row[token])) continue;
      throw new RequirementError({
        action: "compare logits",
        requirement: "they must be finite",
        state: `value at token ${token} is ${row[token]}`,
      });
    }
  }
}

function logSumExp(logits: ArrayLike<number>): number {
  const largest = logits[largestIndex(logits)]!;
  let sum = 0;
  for (let token = 0; token < logits.length; token++) sum += Math.exp(logits[token]! - largest);
  return largest + Math.log(sum);
}

/**
 * Finds the most likely token.
 *
 * @param values Logits, or any increasing function of them.
 * @returns Index of the largest value; of equal ones the first.
 */
export function largestIndex(values: ArrayLike<number>): number {
  let largest = 0;
  for (let index = 1; index < values.length; index++) {
    if (values[index]! > values[largest]!) largest = index;
  }
  return largest;
}
