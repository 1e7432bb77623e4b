/**
 * Sums of rows of attention: all with equal weight, with old rows fading, or the newest row alone.
 *
 * @module
 */

import { DECAY_ROWS, DEFAULT_DECAY } from "../options.ts";
import type { Score } from "./score.ts";

function fadingSum(parts: Pick<Score, "name" | "reads" | "rows"> & { readonly decay: number }) {
  const { decay } = parts;
  const add = (scores: Float32Array, row: Float32Array) => {
    for (let token = 0; token < row.length; token++) {
      scores[token] = decay * scores[token]! + row[token]!;
    }
  };
  return {
    ...parts,
    start({ room, sums, rows }) {
      if (sums) room.set(sums);
      for (const row of rows) add(room, row);
      return room;
    },
    add: (scores, { row }) => add(scores, row!),
    saliency: (scores) => scores,
  } satisfies Score<Float32Array>;
}

/**
 * Accumulated attention (equation 1 of SmallKV): the column sums of all rows so far.
 *
 * @returns The score.
 */
export function sum(): Score<Float32Array> {
  return fadingSum({ name: "sum", reads: "sums", decay: 1 });
}

/**
 * A sum whose older rows fade (D-30).
 *
 * @param options Factor on older rows at each step, in (0, 1), 0.5 if left out; prompt rows that it starts from, 32 if left
 *   out.
 * @returns The score.
 */
export function decayed(
  options: { readonly decay?: number; readonly rows?: number } = {},
): Score<Float32Array> {
  const { decay = DEFAULT_DECAY, rows = DECAY_ROWS } = options;
  return fadingSum({ name: "decayed", reads: "rows", decay, rows: () => rows });
}

/**
 * The newest row alone.
 *
 * @returns The score.
 */
export function lastRow(): Score<Float32Array> {
  return fadingSum({ name: "last_row", reads: "rows", decay: 0, rows: () => 1 });
}
