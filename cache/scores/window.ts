/**
 * A weighted mean of the newest rows of attention, as PyramidInfer ranks.
 *
 * @see {@link https://arxiv.org/abs/2405.12532 | PyramidInfer}
 * @module
 */

import type { CountRequest } from "../budget.ts";
import type { Score } from "./score.ts";

/** Rows and weights of a window. */
export interface ScoreWindowOptions {
  /** Rows that count at a length. */
  readonly rows: (request: CountRequest) => number;
  /** Weight of the newest row over that of the oldest. */
  readonly newestWeight: number;
}

/**
 * Ranks by the newest rows, later ones more.
 *
 * @param options Rows and weights.
 * @returns The score.
 */
export function window({ rows: count, newestWeight }: ScoreWindowOptions): Score<Float32Array[]> {
  return {
    name: "window",
    reads: "rows",
    rows: count,
    start: ({ rows }) => [...rows],
    add(rows, step) {
      rows.push(step.row!.slice());
      forget(rows, step.rows);
    },
    saliency(rows, view) {
      forget(rows, view.rows);
      return weightedMean(rows, newestWeight);
    },
  };
}

/** Forgets all but the newest rows. */
function forget(rows: Float32Array[], newest: number): void {
  rows.splice(0, Math.max(0, rows.length - newest));
}

/**
 * Mean of rows whose weights rise in equal steps.
 *
 * @param rows Rows of one length, oldest first.
 * @param newestWeight Weight of the newest row over that of the oldest.
 * @returns The mean.
 */
export function weightedMean(
  rows: readonly Float32Array[],
  newestWeight: number,
): Float32Array<ArrayBuffer> {
  const mean = new Float32Array(rows[0]?.length ?? 0);
  rows.forEach((row, index) => {
    const age = rows.length > 1 ? index / (rows.length - 1) : 1;
    const weight = (1 + (newestWeight - 1) * age) / rows.length;
    for (let key = 0; key < mean.length; key++) mean[key]! += weight * row[key]!;
  });
  return mean;
}
