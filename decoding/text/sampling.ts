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
  const most = logits.reduce((max, logit) => Math.max(max, logit), -Infinity);
  if (temperature === 0) {
    const likeliest = logits.indexOf(most);
    return Float64Array.from(logits, (_, id) => id === likeliest ? 1 : 0);
  }
  const least = topK < logits.length ? logits.toSorted().at(-topK)! : -Infinity;
  const weights = Float64Array.from(
    logits,
    (logit) => logit < least ? 0 : Math.exp((logit - most) / temperature),
  );
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (topP < 1) dropTail(weights, (1 - topP) * total);
  const kept = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / kept);
}

/** Sets the smallest weights to 0 while they sum to at most `room`, never the last of the largest; of equal ones, the first go first. */
function dropTail(weights: Float64Array, room: number): void {
  const likeliest = weights.lastIndexOf(weights.reduce((max, weight) => Math.max(max, weight), 0));
  // Those below this share fit together, however many they are, which leaves few to sort.
  const share = room / weights.length;
  let sum = 0;
  const rest: number[] = [];
  for (let id = 0; id < weights.length; id++) {
    if (id === likeliest || weights[id]! > room) continue;
    if (weights[id]! > share) rest.push(id);
    else {
      sum += weights[id]!;
      weights[id] = 0;
    }
  }
  rest.sort((one, other) => weights[one]! - weights[other]! || one - other);
  for (const id of rest) {
    sum += weights[id]!;
    if (sum > room) return;
    weights[id] = 0;
  }
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
