/**
 * Intervals of a benchmark's score, which is a mean over items or over the means of its groups.
 *
 * @see docs/method.md, "Scores and comparisons"
 * @module
 */

import { type Interval, intervalEnds } from "../core/bootstrap.ts";
import { checkInteger, checkLength, RequirementError } from "../core/check.ts";
import { seededRandom } from "../core/random.ts";
import { normalQuantile } from "../core/stats.ts";
import { averageScore } from "../data/task.ts";

/** What a score is the mean of, and how its interval is computed. */
export interface ScoreOptions {
  /** Seed of the resampling; 0 if left out. */
  readonly seed?: number;
  /** Resamples; 2000 if left out. */
  readonly resamples?: number;
  /** Probability that the interval covers; 0.95 if left out. */
  readonly level?: number;
  /** Items count alike, or groups do, whatever their sizes; items if left out. */
  readonly average?: "items" | "groups";
}

/**
 * Weighs items so that their weighted sum is the score.
 *
 * @param groups Name of the group of each item.
 * @returns One weight for each item; they add up to 1.
 */
export function itemWeights(
  groups: readonly string[],
  average: "items" | "groups" = "items",
): Float64Array {
  if (average === "items") return new Float64Array(groups.length).fill(1 / groups.length);
  const sizes = new Map<string, number>();
  for (const group of groups) sizes.set(group, (sizes.get(group) ?? 0) + 1);
  return Float64Array.from(groups, (group) => 1 / (sizes.size * sizes.get(group)!));
}

/**
 * Computes Wilson's interval of a proportion, which has a width even where none or all succeed.
 *
 * @param successes How many succeeded.
 * @param count Number of tries; neither has to be whole, since tries may be weighted.
 * @param level Probability that the interval covers; 0.95 if left out.
 * @throws {RequirementError} If there are no tries, or more successes than tries.
 * @see {@link https://doi.org/10.1080/01621459.1927.10502953 | Wilson 1927, Probable Inference}
 */
export function wilsonInterval(successes: number, count: number, level: number = 0.95): Interval {
  if (!(successes >= 0 && successes <= count && count > 0)) {
    throw new RequirementError({
      action: "compute an interval",
      requirement: "successes must be from 0 to the number of tries, which must be above 0",
      current: `${successes} of ${count}`,
    });
  }
  const z = normalQuantile(0.5 + level / 2);
  const share = successes / count;
  const scale = 1 + z * z / count;
  const center = (share + z * z / (2 * count)) / scale;
  const reach = z * Math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / scale;
  return {
    value: share,
    low: Math.max(0, Math.min(share, center - reach)),
    high: Math.min(1, Math.max(share, center + reach)),
    n: count,
  };
}

/**
 * Computes the percentile interval of a weighted mean by resampling items within their groups.
 *
 * Of a group of n items n - 1 are drawn, so that the variance is unbiased in groups of two items, too (Rao and Wu
 * 1988). Groups with one item are resampled together, and a lone one with the next smallest group.
 *
 * @param values One number for each item: scores, or differences of paired scores.
 * @param groups Name of the group of each item.
 * @returns The interval; with a single item its ends are its value.
 * @throws {RequirementError} If there are no items, the lists differ in length, or a value is not finite.
 * @see {@link https://doi.org/10.1080/01621459.1988.10478591 | Rao and Wu 1988, Resampling Inference}
 */
export function stratifiedInterval(
  values: ArrayLike<number>,
  groups: readonly string[],
  options: ScoreOptions = {},
): Interval {
  const parts = weightedParts(values, groups, options);
  const value = meanScore(values, groups, options);
  if (parts.length === 1) return { value, low: value, high: value, n: 1 };
  const { seed = 0, resamples = 2000 } = options;
  checkInteger("compute an interval", "resamples", { value: resamples, min: 1 });
  const random = seededRandom(seed);
  const strata = strataOf(groups).map((items) => Float64Array.from(items, (item) => parts[item]!));
  const estimates = Float64Array.from({ length: resamples }, () => {
    let total = 0;
    for (const stratum of strata) {
      const drawn = stratum.length - 1;
      let sum = 0;
      for (let draw = 0; draw < drawn; draw++) {
        sum += stratum[Math.floor(random() * stratum.length)]!;
      }
      total += sum * stratum.length / drawn;
    }
    return total;
  });
  return {
    ...intervalEnds({ value, estimates }, { ...options, method: "percentile" }),
    n: parts.length,
  };
}

/**
 * Computes the interval of a score: Wilson's where items are right or wrong, by resampling otherwise.
 *
 * With groups of unequal sizes that count alike, Wilson's interval takes Kish's effective number of items.
 *
 * @param scores Score of each item, 0 to 1.
 * @param groups Name of the group of each item.
 * @throws {RequirementError} If there are no items, the lists differ in length, or a score is not finite.
 */
export function scoreInterval(
  scores: ArrayLike<number>,
  groups: readonly string[],
  options: ScoreOptions = {},
): Interval {
  if (!isBinary(scores)) return stratifiedInterval(scores, groups, options);
  const { length } = weightedParts(scores, groups, options);
  const share = Math.min(1, meanScore(scores, groups, options));
  const squares = itemWeights(groups, options.average).reduce(
    (sum, weight) => sum + weight ** 2,
    0,
  );
  return { ...wilsonInterval(share / squares, 1 / squares, options.level), n: length };
}

/** Whether all scores are 0 or 1. */
export function isBinary(scores: ArrayLike<number>): boolean {
  return Array.from(scores).every((score) => score === 0 || score === 1);
}

/** What each item adds to the score. */
function weightedParts(
  values: ArrayLike<number>,
  groups: readonly string[],
  { average }: ScoreOptions,
): Float64Array {
  const action = "compute an interval";
  checkInteger(action, "items", { value: values.length, min: 1 });
  checkLength(action, "groups", { required: values.length, current: groups.length });
  const weights = itemWeights(groups, average);
  return weights.map((weight, item) => {
    const value = values[item]!;
    if (Number.isFinite(value)) return weight * value;
    throw new RequirementError({ action, requirement: "values must be finite", current: value });
  });
}

function meanScore(
  values: ArrayLike<number>,
  groups: readonly string[],
  { average = "items" }: ScoreOptions,
): number {
  return averageScore({ average }, groups.map((group, item) => ({ group, score: values[item]! })));
}

/** Items that are resampled together, at least two in each. */
function strataOf(groups: readonly string[]): number[][] {
  const byGroup = Map.groupBy(groups.keys(), (item) => groups[item]!);
  const [first, second, ...others] = [...byGroup.values()].sort((a, b) => a.length - b.length);
  if (first!.length > 1 || second === undefined) return [...byGroup.values()];
  const single = others.filter(({ length }) => length === 1);
  const rest = others.filter(({ length }) => length > 1);
  return [[...first!, ...second, ...single.flat()], ...rest];
}
