/**
 * What the newest queries attend to, smoothed over neighbors in the cache: SnapKV's votes, taken again while text is decoded.
 *
 * @see {@link https://arxiv.org/abs/2404.14469 | SnapKV}
 * @module
 */

import { maxPool, type ObservationWindowOptions } from "./observation_window.ts";
import type { Score, ScoreView } from "./score.ts";

/**
 * Ranks tokens before the newest rows by the mean of these rows; neighbors are those that are held.
 *
 * @param options Newest rows that vote, of the prompt at first, and pooling.
 * @returns The score.
 */
export function newestWindow(options: ObservationWindowOptions): Score<Float32Array[]> {
  const { rows: count, pool } = options;
  return {
    ...{ name: "newest_window", reads: "rows", pool },
    rows: ({ tokens }) => Math.min(count, tokens),
    start: ({ rows }) => [...rows],
    add: addNewest,
    saliency(rows, view) {
      const scores = new Float32Array(view.tokens);
      const ranked = tokensBefore(rows, view);
      const votes = new Float32Array(ranked.length);
      for (const row of rows) ranked.forEach((token, k) => votes[k]! += row[token]! / rows.length);
      maxPool(votes, pool).forEach((vote, k) => scores[ranked[k]!] = vote);
      return scores;
    },
  };
}

/** Adds the newest row to a window, and forgets those that have left it. */
export function addNewest(
  rows: Float32Array[],
  step: { readonly row?: Float32Array; readonly rows: number },
): void {
  rows.push(step.row!.slice());
  rows.splice(0, Math.max(0, rows.length - step.rows));
}

/** Tokens that may be ranked and stand before those of the newest rows, ascending. */
export function tokensBefore(
  rows: readonly Float32Array[],
  { tokens, held }: Pick<ScoreView, "tokens" | "held">,
): number[] {
  const end = tokens - rows.length;
  return held
    ? Array.from(held).filter((token) => token < end)
    : [...Array(Math.max(0, end)).keys()];
}
