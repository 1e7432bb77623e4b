/**
 * R-KV: what the newest queries attend to, less what resembles other keys.
 *
 * @see {@link https://arxiv.org/abs/2505.24133 | R-KV}
 * @module
 */

import { addNewest, tokensBefore } from "./newest_window.ts";
import { maxPool, type ObservationWindowOptions } from "./observation_window.ts";
import type { Score } from "./score.ts";

/** How importance and redundancy are found and weighed. */
export interface ImportanceAndRedundancyOptions extends ObservationWindowOptions {
  /** Weight of importance, 0 to 1; redundancy has the rest. */
  readonly lambda: number;
  /** Cosine above which two keys are similar. */
  readonly similar: number;
}

/** Newest rows of attention, and keys divided by their norms. */
export interface ImportanceAndRedundancyState {
  /** Rows, oldest first. */
  readonly rows: Float32Array[];
  /** Unit key of each token. */
  readonly keys: Float64Array[];
}

/**
 * Ranks tokens before the newest rows by lambda times importance less (1 - lambda) times redundancy, as the authors' code.
 *
 * Importance: each row's softmax over these tokens alone, averaged over rows, then the largest of the neighbors that are
 * held. Redundancy: the softmax over all held tokens of the mean cosine of their keys with that token's key, where a token
 * does not count against the newest token that is similar to it (the first held one if none is), nor against itself.
 *
 * @param options Rows, pooling, weight, threshold.
 * @returns The score, at most lambda.
 */
export function importanceAndRedundancy(
  options: ImportanceAndRedundancyOptions,
): Score<ImportanceAndRedundancyState> {
  const { rows: count, pool, lambda, similar } = options;
  return {
    ...{ name: "importance_and_redundancy", reads: "keys_and_rows", pool, lambda, similar },
    rows: ({ tokens }) => Math.min(count, tokens),
    start: ({ rows }) => ({ rows: [...rows], keys: [] }),
    add({ rows, keys }, step) {
      if (step.row) addNewest(rows, step);
      if (!step.key) return;
      const norm = Math.hypot(...step.key) || 1;
      keys[step.token] = Float64Array.from(step.key, (value) => value / norm);
    },
    saliency({ rows, keys }, view) {
      const scores = new Float32Array(view.tokens);
      const ranked = tokensBefore(rows, view);
      const important = maxPool(importance(rows, ranked), pool);
      const held = [...view.held ?? keys.keys()].filter((token) => keys[token]);
      const redundant = redundancy(held.map((token) => keys[token]!), similar);
      // Ranked tokens are the first of those held.
      ranked.forEach((token, k) => {
        scores[token] = lambda * important[k]! - (1 - lambda) * redundant[k]!;
      });
      return scores;
    },
  };
}

function importance(rows: readonly Float32Array[], ranked: readonly number[]): Float32Array {
  const mean = new Float32Array(ranked.length);
  for (const row of rows) {
    // The softmax over some tokens is that over all of them, divided by its sum over these.
    const total = ranked.reduce((sum, token) => sum + row[token]!, 0) || 1;
    ranked.forEach((token, k) => mean[k]! += row[token]! / total / rows.length);
  }
  return mean;
}

/** Softmax over keys of their mean cosine with all keys, the newest similar one of each key left out. */
function redundancy(keys: readonly Float64Array[], similar: number): Float64Array {
  const total = new Float64Array(keys[0]?.length ?? 0);
  for (const key of keys) key.forEach((value, index) => total[index]! += value);
  const sums = Float64Array.from(keys, (key) => product(key, total) - product(key, key));
  keys.forEach((key, k) => {
    let newest = keys.length - 1;
    while (newest > 0 && (newest === k || product(key, keys[newest]!) <= similar)) newest--;
    if (newest !== k) sums[newest]! -= product(key, keys[newest]!);
  });
  const exponentials = sums.map((sum) => Math.exp(sum / keys.length));
  const all = exponentials.reduce((sum, value) => sum + value, 0);
  return exponentials.map((value) => value / all);
}

function product(left: Float64Array, right: Float64Array): number {
  let sum = 0;
  for (let index = 0; index < left.length; index++) sum += left[index]! * right[index]!;
  return sum;
}
