/**
 * Expected attention: how much future queries will attend to a key, if they are distributed like those of the prompt and
 * stand at the next positions, times the norm of the value.
 *
 * @see {@link https://arxiv.org/abs/2510.00636 | Expected Attention}
 * @module
 */

import type { QueryMoments } from "./query_moments.ts";
import type { Score } from "./score.ts";

/** Assumptions about future queries. */
export interface ExpectedAttentionOptions {
  /** Positions after the newest token over which rotations are averaged; 512 if left out. */
  readonly positions?: number;
  /** First tokens, which are excluded from moments and softmax and always rank highest; 4 if left out. */
  readonly sinks?: number;
  /** Added to a token's expected attention before it is multiplied by the value's norm; 0 if left out. */
  readonly epsilon?: number;
}

/** Keys and values of a KV head, and the distribution of its queries. */
export interface ExpectedAttentionState {
  /** Each query head's moments, and its covariance. */
  readonly queries: readonly {
    readonly moments: QueryMoments;
    readonly covariance: Float64Array;
  }[];
  /** Key of each token. */
  readonly keys: Float64Array[];
  /** Norm of each token's value. */
  readonly valueNorms: number[];
}

/**
 * Ranks by expected attention and value norms.
 *
 * For a query head with mean m and covariance C before rotation, R the mean rotation of the next positions and s the
 * scale of attention, the logarithm of the expected exponential of a key k's product is s k'Rm + s² k'RCR'k / 2. Its
 * softmax over the tokens held is averaged over the query heads of a KV head.
 *
 * @param options Positions, sinks, epsilon.
 * @returns The score.
 */
export function expectedAttention(
  options: ExpectedAttentionOptions = {},
): Score<ExpectedAttentionState> {
  const { positions = 512, sinks = 4, epsilon = 0 } = options;
  return {
    ...{ name: "expected_attention", reads: "queries", firstQuery: sinks, positions, epsilon },
    start: ({ queries = [] }) => ({
      queries: queries.map((moments) => ({ moments, covariance: moments.covariance() })),
      keys: [],
      valueNorms: [],
    }),
    add({ keys, valueNorms }, { token, key, value }) {
      keys[token] = Float64Array.from(key!);
      valueNorms[token] = Math.hypot(...value!);
    },
    saliency({ queries, keys, valueNorms }, { tokens, held }) {
      const scores = new Float32Array(tokens);
      const known = [...held ?? keys.keys()].filter((token) => keys[token]);
      const ranked = known.filter((token) => token >= sinks);
      const expected = new Float64Array(ranked.length);
      for (const { moments, covariance } of queries) {
        const rotation = meanRotation(moments, tokens, positions);
        const mean = rotated(moments.mean(), rotation);
        const spread = rotatedBothWays(covariance, rotation);
        const { scale } = moments;
        const logits = ranked.map((token) => {
          const key = keys[token]!;
          return scale * product(mean, key) + scale ** 2 * quadratic(spread, key) / 2;
        });
        softmax(logits).forEach((share, index) => expected[index]! += share / queries.length);
      }
      ranked.forEach((token, index) => {
        scores[token] = (expected[index]! + epsilon) * valueNorms[token]!;
      });
      const largest = ranked.reduce((most, token) => Math.max(most, scores[token]!), 0);
      for (const token of known) if (token < sinks) scores[token] = largest;
      return scores;
    },
  };
}

/** Mean cosine and sine of each pair of elements over some positions, times the scale that queries have there. */
interface MeanRotation {
  readonly cosines: Float64Array;
  readonly sines: Float64Array;
}

function meanRotation(
  { frequencies, scaleAt }: QueryMoments,
  first: number,
  positions: number,
): MeanRotation {
  const mean = (turn: (angle: number) => number) =>
    Float64Array.from(frequencies, (frequency) => {
      let sum = 0;
      for (let k = 0; k < positions; k++) {
        sum += scaleAt(first + k) * turn((first + k) * frequency);
      }
      return sum / positions;
    });
  return { cosines: mean(Math.cos), sines: mean(Math.sin) };
}

/** Rotates a vector, whose pairs lie half its length apart. */
function rotated(vector: Float64Array, { cosines, sines }: MeanRotation): Float64Array {
  const half = vector.length / 2;
  return vector.map((value, index) => {
    const pair = index % half;
    const [cosine, sine] = [cosines[pair] ?? 1, sines[pair] ?? 0];
    return cosine * value + (index < half ? -sine : sine) * vector[(index + half) % vector.length]!;
  });
}

/** R C R', for a symmetric matrix C. */
function rotatedBothWays(matrix: Float64Array, rotation: MeanRotation): Float64Array {
  return rotatedRows(transposed(rotatedRows(matrix, rotation)), rotation);
}

function rotatedRows(matrix: Float64Array, rotation: MeanRotation): Float64Array {
  const size = Math.sqrt(matrix.length);
  const result = new Float64Array(matrix.length);
  for (let first = 0; first < matrix.length; first += size) {
    result.set(rotated(matrix.subarray(first, first + size), rotation), first);
  }
  return result;
}

function transposed(matrix: Float64Array): Float64Array {
  const size = Math.sqrt(matrix.length);
  return matrix.map((_, index) => matrix[index % size * size + Math.floor(index / size)]!);
}

function product(left: Float64Array, right: Float64Array): number {
  let sum = 0;
  for (let index = 0; index < left.length; index++) sum += left[index]! * right[index]!;
  return sum;
}

/** k' M k. */
function quadratic(matrix: Float64Array, vector: Float64Array): number {
  const size = vector.length;
  let sum = 0;
  for (let row = 0; row < size; row++) {
    sum += vector[row]! * product(matrix.subarray(row * size, (row + 1) * size), vector);
  }
  return sum;
}

function softmax(logits: readonly number[]): number[] {
  const largest = logits.reduce((most, logit) => Math.max(most, logit), -Infinity);
  const exponentials = logits.map((logit) => Math.exp(logit - largest));
  const total = exponentials.reduce((sum, value) => sum + value, 0);
  return exponentials.map((value) => value / total);
}
