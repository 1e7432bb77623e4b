/**
 * Whether two policies differ on the same items, and what many such comparisons are worth together.
 *
 * All tests are two-sided: a direction that was declared beforehand says how a difference reads, and does not halve p.
 *
 * @see docs/method.md, "Scores and comparisons"
 * @module
 */

import type { Interval } from "../core/bootstrap.ts";
import { checkInteger, checkLength, RequirementError } from "../core/check.ts";
import { seededRandom } from "../core/random.ts";
import { normalQuantile } from "../core/stats.ts";
import { isBinary, itemWeights, type ScoreOptions, stratifiedInterval } from "./score_intervals.ts";

/** Two policies on the same items. */
export interface PairedComparison {
  /** First minus second, averaged as the score is; resampled within groups. */
  readonly difference: Interval;
  /** Probability of a difference at least as large if the two did not differ. */
  readonly p: number;
  /** Exact McNemar test where all items are right or wrong, flips of signs otherwise. */
  readonly test: "mcnemar" | "sign flips";
  /** Items on which the first is better. */
  readonly wins: number;
  /** Items on which the second is better. */
  readonly losses: number;
}

/** So many differences are flipped in all ways, more of them at random. */
const MOST_ENUMERATED = 14;
/** Random flips of signs. */
const FLIPS = 10_000;

/**
 * Compares two policies item by item.
 *
 * @param first Score of each item under the first policy.
 * @param second Scores of the same items, in the same order, under the second.
 * @param groups Name of the group of each item.
 * @throws {RequirementError} If there are no items, the lists differ in length, or a score is not finite.
 */
export function comparePaired(
  first: ArrayLike<number>,
  second: ArrayLike<number>,
  groups: readonly string[],
  options: ScoreOptions = {},
): PairedComparison {
  checkLength("compare scores", "second", { required: first.length, current: second.length });
  const differences = Array.from(first, (score, item) => score - second[item]!);
  const difference = pairedInterval(differences, groups, options);
  const wins = differences.filter((one) => one > 0).length;
  const losses = differences.filter((one) => one < 0).length;
  if (isBinary(first) && isBinary(second)) {
    return { difference, p: mcnemarTest(wins, losses), test: "mcnemar", wins, losses };
  }
  const weights = itemWeights(groups, options.average);
  const p = signFlipTest(weights.map((weight, item) => weight * differences[item]!), options);
  return { difference, p, test: "sign flips", wins, losses };
}

/**
 * Computes the interval of a mean difference of paired scores.
 *
 * It comes from resampling. Where all differences are the same, as on few items that no policy gets right, that would have
 * no width, and the interval is Bonett and Price's, which adds a win and a loss.
 *
 * @param differences First minus second, one for each item, from -1 to 1.
 * @param groups Name of the group of each item.
 * @throws {RequirementError} As {@link stratifiedInterval}.
 * @see {@link https://doi.org/10.3102/1076998611411915 | Bonett and Price 2012, Adjusted Wald Confidence Interval}
 */
export function pairedInterval(
  differences: ArrayLike<number>,
  groups: readonly string[],
  options: ScoreOptions = {},
): Interval {
  const resampled = stratifiedInterval(differences, groups, options);
  const all = Array.from(differences);
  if (all.some((one) => one !== all[0])) return resampled;
  const count = all.length + 2;
  const wins = (all.filter((one) => one > 0).length + 1) / count;
  const losses = (all.filter((one) => one < 0).length + 1) / count;
  const z = normalQuantile(0.5 + (options.level ?? 0.95) / 2);
  const reach = z * Math.sqrt((wins + losses - (wins - losses) ** 2) / count);
  const { value, n } = resampled;
  return {
    value,
    low: Math.max(-1, Math.min(value, wins - losses - reach)),
    high: Math.min(1, Math.max(value, wins - losses + reach)),
    n,
  };
}

/**
 * Computes the exact McNemar test: whether, of the items that only one gets right, either gets more than by chance.
 *
 * @param wins Items that only the first gets right.
 * @param losses Items that only the second gets right.
 * @returns The two-sided p, from the binomial distribution with probability 1/2; 1 if there are no such items.
 * @see {@link https://doi.org/10.1007/BF02295996 | McNemar 1947, Sampling Error of the Difference}
 */
export function mcnemarTest(wins: number, losses: number): number {
  for (const [name, value] of Object.entries({ wins, losses })) {
    checkInteger("compare scores", name, { value, min: 0 });
  }
  const count = wins + losses;
  let logTerm = -count * Math.LN2;
  let tail = 0;
  for (let right = 0; right <= Math.min(wins, losses); right++) {
    tail += Math.exp(logTerm);
    logTerm += Math.log((count - right) / (right + 1));
  }
  return Math.min(1, 2 * tail);
}

/**
 * Tests whether paired differences lie around 0, by how often their sum is as large once signs are flipped.
 *
 * All flips are counted where at most 14 differences are not 0; otherwise 10,000 are drawn, and the observed one is
 * counted with them, so that p is never 0.
 *
 * @param differences One for each item, weighted as the score is.
 * @returns The two-sided p; 1 if all differences are 0.
 * @throws {RequirementError} If a difference is not finite.
 * @see {@link https://doi.org/10.2202/1544-6115.1585 | Phipson and Smyth 2010, Permutation P-values}
 */
export function signFlipTest(
  differences: ArrayLike<number>,
  { seed = 0 }: Pick<ScoreOptions, "seed"> = {},
): number {
  const all = Array.from(differences);
  const observed = Math.abs(all.reduce((sum, one) => sum + one, 0));
  if (!Number.isFinite(observed)) {
    throw new RequirementError({
      action: "compare scores",
      requirement: "differences must be finite",
      current: observed,
    });
  }
  const sizes = all.map(Math.abs).filter((size) => size > 0);
  // Sums in another order round differently, and equal ones have to count as equal.
  const least = observed - 1e-10 * sizes.reduce((sum, size) => sum + size, 0);
  const isAsLarge = (signs: (item: number) => number) => {
    let sum = 0;
    for (let item = 0; item < sizes.length; item++) {
      sum += signs(item) ? sizes[item]! : -sizes[item]!;
    }
    return Math.abs(sum) >= least;
  };
  let extreme = 0;
  if (sizes.length <= MOST_ENUMERATED) {
    const ways = 2 ** sizes.length;
    for (let way = 0; way < ways; way++) extreme += Number(isAsLarge((item) => way >> item & 1));
    return extreme / ways;
  }
  const random = seededRandom(seed);
  const words = new Uint32Array(Math.ceil(sizes.length / 32));
  for (let flip = 0; flip < FLIPS; flip++) {
    for (let word = 0; word < words.length; word++) words[word] = Math.floor(random() * 2 ** 32);
    extreme += Number(isAsLarge((item) => words[item >> 5]! >> (item & 31) & 1));
  }
  return (extreme + 1) / (FLIPS + 1);
}

/**
 * Corrects the p of several comparisons so that the chance of any false one stays below a level (Holm).
 *
 * @param probabilities p of the comparisons that were made.
 * @param familySize Comparisons that were declared; those that were not made count as if their p were 1.
 * @returns Corrected p in the same order.
 * @throws {RequirementError} If a p lies outside [0, 1], or the family is smaller than what was made of it.
 * @see {@link https://www.jstor.org/stable/4615733 | Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure}
 */
export function holmAdjusted(
  probabilities: readonly number[],
  familySize: number = probabilities.length,
): number[] {
  const action = "correct for several comparisons";
  checkInteger(action, "familySize", { value: familySize, min: probabilities.length });
  const broken = probabilities.find((p) => !(p >= 0 && p <= 1));
  if (broken !== undefined) {
    throw new RequirementError({ action, requirement: "p must lie in [0, 1]", current: broken });
  }
  const order = [...probabilities.keys()].sort((a, b) => probabilities[a]! - probabilities[b]!);
  const adjusted = new Array<number>(probabilities.length);
  let largest = 0;
  order.forEach((index, rank) => {
    largest = Math.max(largest, Math.min(1, (familySize - rank) * probabilities[index]!));
    adjusted[index] = largest;
  });
  return adjusted;
}
