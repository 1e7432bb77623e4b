/**
 * Confidence intervals by resampling whole contexts, so that numbers measured on one context
 * (heads, steps, budgets) stay together and methods stay paired.
 *
 * @module
 */

import { checkInteger, checkLength, RequirementError } from "./check.ts";
import { seededRandom } from "./random.ts";
import { mean, normalCdf, normalQuantile, sortedQuantile } from "./stats.ts";

/** A point estimate with its interval. */
export interface Interval {
  /** Point estimate from all contexts. */
  readonly value: number;
  /** Lower end; equal to `value` with a single context, where no interval exists. */
  readonly low: number;
  /** Upper end. */
  readonly high: number;
  /** Independent contexts that the estimate rests on. */
  readonly n: number;
}

/** How an interval is computed. */
export interface BootstrapOptions {
  /** Seed of the resampling; 0 if left out. */
  readonly seed?: number;
  /** Resamples; 2000 if left out. */
  readonly resamples?: number;
  /** Probability that the interval covers; 0.95 if left out. */
  readonly level?: number;
  /** `bca` corrects for bias and skewness and is the default; `percentile` takes plain quantiles. */
  readonly method?: "bca" | "percentile";
}

/** What the ends of an interval are computed from. */
export interface Resampled {
  /** Point estimate from all contexts. */
  readonly value: number;
  /** Estimates from resampled contexts, in any order. */
  readonly estimates: ArrayLike<number>;
  /** Estimates with one context left out each; needed for `bca` only. */
  readonly jackknife?: ArrayLike<number>;
}

/**
 * Computes the interval of any statistic of contexts.
 *
 * @param statistic Computes the number from a list of context indices, which may repeat.
 * @throws {RequirementError} If there are no contexts, or the statistic of all contexts is not finite.
 */
export function bootstrapInterval(
  count: number,
  statistic: (contexts: Uint32Array) => number,
  options: BootstrapOptions = {},
): Interval {
  checkInteger("compute an interval", "count", { value: count, min: 1 });
  const { seed = 0, resamples = 2000, method = "bca" } = options;
  checkInteger("compute an interval", "resamples", { value: resamples, min: 1 });
  const all = Uint32Array.from({ length: count }, (_, index) => index);
  const value = statistic(all);
  if (!Number.isFinite(value)) {
    throw new RequirementError({
      action: "compute an interval",
      requirement: "the statistic must be finite",
      current: value,
    });
  }
  if (count === 1) return { value, low: value, high: value, n: 1 };
  const random = seededRandom(seed);
  const drawn = new Uint32Array(count);
  const estimates = Float64Array.from({ length: resamples }, () => {
    for (let index = 0; index < count; index++) drawn[index] = Math.floor(random() * count);
    return statistic(drawn);
  }).filter(Number.isFinite);
  if (estimates.length === 0) return { value, low: value, high: value, n: count };
  const jackknife = method === "percentile" ? [] : leaveOneOut(all, statistic);
  return { ...intervalEnds({ value, estimates, jackknife }, options), n: count };
}

/**
 * Turns resampled estimates into the ends of an interval.
 *
 * @see {@link https://doi.org/10.1080/01621459.1987.10478410 | Efron 1987, Better Bootstrap Confidence Intervals}
 */
export function intervalEnds(
  resampled: Resampled,
  options: BootstrapOptions = {},
): Omit<Interval, "n"> {
  const { level = 0.95, method = "bca" } = options;
  if (!(level > 0 && level < 1)) {
    throw new RequirementError({
      action: "compute an interval",
      requirement: "level must lie in (0, 1)",
      current: level,
    });
  }
  const sorted = Float64Array.from(resampled.estimates).sort();
  const tail = (1 - level) / 2;
  const [low, high] = method === "bca" ? correctedTails(resampled, tail) : [tail, 1 - tail];
  return {
    value: resampled.value,
    low: sortedQuantile(sorted, low),
    high: sortedQuantile(sorted, high),
  };
}

/** Computes the interval of a mean over contexts. */
export function meanInterval(values: ArrayLike<number>, options: BootstrapOptions = {}): Interval {
  return bootstrapInterval(values.length, (contexts) => meanOf(values, contexts), options);
}

/**
 * Computes the interval of a ratio of sums, which is also a mean or a proportion over all pieces of
 * all contexts when `denominators` counts the pieces.
 *
 * @param numerators One sum per context.
 * @param denominators One sum per context, as many as numerators.
 * @returns The sum of the numerators over the sum of the denominators, and its interval.
 * @throws {RequirementError} If the lists differ in length.
 */
export function ratioInterval(
  numerators: ArrayLike<number>,
  denominators: ArrayLike<number>,
  options: BootstrapOptions = {},
): Interval {
  checkLength("compute the interval of a ratio", "denominators", {
    required: numerators.length,
    current: denominators.length,
  });
  return bootstrapInterval(
    numerators.length,
    (contexts) => meanOf(numerators, contexts) / meanOf(denominators, contexts),
    options,
  );
}

function meanOf(values: ArrayLike<number>, contexts: Uint32Array): number {
  let sum = 0;
  for (const context of contexts) sum += values[context]!;
  return sum / contexts.length;
}

function leaveOneOut(
  all: Uint32Array,
  statistic: (contexts: Uint32Array) => number,
): Float64Array {
  return Float64Array.from(all, (left) => statistic(all.filter((context) => context !== left)));
}

/** Tail probabilities of the bias-corrected and accelerated interval; plain ones where it is undefined. */
function correctedTails(resampled: Resampled, tail: number): [number, number] {
  const { value, estimates, jackknife = [] } = resampled;
  let below = 0;
  for (let index = 0; index < estimates.length; index++) {
    const estimate = estimates[index]!;
    below += estimate < value ? 1 : estimate === value ? 0.5 : 0;
  }
  const share = below / estimates.length;
  const acceleration = accelerationOf(jackknife);
  if (share <= 0 || share >= 1 || !Number.isFinite(acceleration)) return [tail, 1 - tail];
  const bias = normalQuantile(share);
  const corrected = (probability: number) => {
    const shifted = bias + normalQuantile(probability);
    return normalCdf(bias + shifted / (1 - acceleration * shifted));
  };
  return [corrected(tail), corrected(1 - tail)];
}

function accelerationOf(jackknife: ArrayLike<number>): number {
  if (jackknife.length === 0) return 0;
  const center = mean(jackknife);
  let squares = 0;
  let cubes = 0;
  for (let index = 0; index < jackknife.length; index++) {
    const difference = center - jackknife[index]!;
    squares += difference ** 2;
    cubes += difference ** 3;
  }
  return squares === 0 ? 0 : cubes / (6 * squares ** 1.5);
}
