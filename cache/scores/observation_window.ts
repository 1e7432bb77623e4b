/**
 * What the end of a prompt attends to, smoothed over neighbors, as SnapKV ranks.
 *
 * @see {@link https://arxiv.org/abs/2404.14469 | SnapKV}
 * @module
 */

import type { Score } from "./score.ts";

/** Rows that vote, and smoothing of their votes. */
export interface ObservationWindowOptions {
  /** Last rows of the prompt that vote. */
  readonly rows: number;
  /** Tokens over which the maximum is taken: neighbors on both sides and the token itself. */
  readonly pool: number;
}

/**
 * Ranks tokens before the observation window by the votes of its rows; later tokens change nothing.
 *
 * @param options Rows and pooling.
 * @returns The score.
 */
export function observationWindow(options: ObservationWindowOptions): Score<Float32Array> {
  const { pool } = options;
  return {
    ...{ name: "observation_window", reads: "rows", isPromptOnly: true, pool },
    rows: ({ promptTokens }) => Math.min(options.rows, promptTokens),
    start({ room, rows, promptTokens }) {
      for (const row of rows) row.forEach((value, key) => room[key]! += value);
      // Tokens of the voting rows are kept anyway; their attention to each other must not spread to neighbors.
      room.set(maxPool(room.subarray(0, promptTokens - rows.length), pool));
      return room;
    },
    add() {},
    saliency: (scores) => scores,
  };
}

/**
 * Finds the largest value around each position.
 *
 * @param scores Numbers of neighbors, none below 0.
 * @param width Odd number of positions: neighbors on both sides and the position itself.
 */
export function maxPool(scores: Float32Array, width: number): Float32Array {
  const side = (width - 1) / 2;
  return scores.map((_, key) =>
    scores.subarray(Math.max(0, key - side), key + side + 1)
      .reduce((largest, value) => Math.max(largest, value), 0)
  );
}
