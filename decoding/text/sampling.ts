/**
 * Choice of the next token at random, in place of the likeliest one.
 *
 * Logits are divided by a temperature, then all but the `topK` largest are dropped, then all but the fewest likeliest tokens
 * whose probability exceeds `topP`, in the order and with the edge cases of transformers' logits warpers. All of it is
 * computed in float64.
 *
 * @module
 */

import { RequirementError } from "../../core/check.ts";
import { type Random, seededRandom } from "../../core/random.ts";

/** How tokens are drawn. */
export interface SamplingOptions {
  /** What logits are divided by; 1 if left out, and 0 always takes the likeliest token. */
  readonly temperature?: number;
  /** Probability in (0, 1] that the likeliest tokens must exceed together to be all that is drawn from; 1 if left out. */
  readonly topP?: number;
  /** Most tokens that are drawn from, besides those as likely as the last of them; all if left out. */
  readonly topK?: number;
  /** Seed of the draws; 1 if left out. Each sequence of a batch draws as it would alone. */
  readonly seed?: number;
}

/** Seed of draws if none is given. */
const DEFAULT_SEED = 1;

/**
 * Throws unless tokens can be drawn as asked.
 *
 * @throws {RequirementError} If a value is out of range.
 */
export function checkSampling(
  { temperature = 1, topP = 1, topK, seed = 0 }: SamplingOptions,
): void {
  const check = (holds: boolean, requirement: string, current: unknown) => {
    if (!holds) throw new RequirementError({ action: "sample", requirement, current });
  };
  const isWarm = Number.isFinite(temperature) && temperature >= 0;
  check(isWarm, "temperature must be a finite number of at least 0", temperature);
  check(topP > 0 && topP <= 1, "topP must be above 0 and at most 1", topP);
  const isCount = topK === undefined || Number.isSafeInteger(topK) && topK >= 1;
  check(isCount, "topK must be an integer of at least 1", topK);
  check(Number.isSafeInteger(seed), "seed must be an integer", seed);
}

/**
 * Computes the probability that each token is drawn with.
 *
 * @param logits Logits of a row, [vocabulary].
 * @param options Temperature and cuts.
 * @returns Probabilities, [vocabulary], that sum to 1; 0 for tokens that are never drawn.
 */
export function samplingProbabilities(
  logits: Float32Array,
  { temperature = 1, topP = 1, topK = Infinity }: SamplingOptions,
): Float64Array {
  const likeliest = largest(logits);
  const weights = new Float64Array(logits.length);
  if (temperature === 0) {
    weights[likeliest] = 1;
    return weights;
  }
  const most = logits[likeliest]!;
  const least = topK < logits.length ? logits.toSorted().at(-topK)! : -Infinity;
  let total = 0;
  for (let id = 0; id < weights.length; id++) {
    if (logits[id]! >= least) total += weights[id] = Math.exp((logits[id]! - most) / temperature);
  }
  if (topP < 1) total = dropTail(weights, { total, topP });
  for (let id = 0; id < weights.length; id++) weights[id]! /= total;
  return weights;
}

/**
 * Sets the smallest weights to 0 while they sum to at most `1 - topP` of all, never the last of the largest; of equal ones,
 * the first go first.
 *
 * @returns The sum of the others.
 */
function dropTail(
  weights: Float64Array,
  { total, topP }: { readonly total: number; readonly topP: number },
): number {
  const room = (1 - topP) * total;
  const likeliest = weights.lastIndexOf(weights[largest(weights)]!);
  // Those below this share fit together, however many they are, which leaves few to sort.
  const share = room / weights.length;
  let dropped = 0;
  const rest: number[] = [];
  for (let id = 0; id < weights.length; id++) {
    const weight = weights[id]!;
    if (id === likeliest || weight > room) continue;
    if (weight > share) rest.push(id);
    else {
      dropped += weight;
      weights[id] = 0;
    }
  }
  // Numbers alone sort faster than ids by their numbers.
  const sorted = Float64Array.from(rest, (id) => weights[id]!).sort();
  let count = 0;
  while (count < sorted.length && dropped + sorted[count]! <= room) dropped += sorted[count++]!;
  const least = sorted[count] ?? Infinity;
  let ties = count - sorted.indexOf(least);
  for (const id of rest) {
    if (weights[id]! < least || weights[id] === least && ties-- > 0) weights[id] = 0;
  }
  let kept = 0;
  for (let id = 0; id < weights.length; id++) kept += weights[id]!;
  return kept;
}

/** Place of the largest number, the first one if several are equal. */
function largest(numbers: Float32Array | Float64Array): number {
  let best = 0;
  for (let place = 1; place < numbers.length; place++) {
    if (numbers[place]! > numbers[best]!) best = place;
  }
  return best;
}

/** Draws the tokens of one sequence. */
export class Sampler {
  readonly #options: SamplingOptions;
  readonly #random: Random;

  /**
   * Starts the draws.
   *
   * @param options How tokens are drawn.
   */
  constructor(options: SamplingOptions) {
    checkSampling(options);
    this.#options = options;
    this.#random = seededRandom(options.seed ?? DEFAULT_SEED);
  }

  /**
   * Draws the next token.
   *
   * @param logits Logits, [vocabulary].
   * @returns Its id.
   */
  choose(logits: Float32Array): number {
    const probabilities = samplingProbabilities(logits, this.#options);
    const place = this.#random();
    let [sum, last] = [0, 0];
    for (let id = 0; id < probabilities.length; id++) {
      if (probabilities[id] === 0) continue;
      sum += probabilities[id]!;
      last = id;
      if (place < sum) return id;
    }
    return last; // rounding left the sum just below 1
  }
}
