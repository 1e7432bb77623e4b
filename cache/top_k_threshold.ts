/**
 * The most salient tokens, found without sorting all of them.
 *
 * @module
 */

import { RequirementError } from "../core/check.ts";

/** Which of equal scores are taken first. */
export type TieRule = "earlier" | "later";

/** Scores are first sorted into bins by their sign, exponent and two more bits. */
const BINS = 2048;
const BIN_SHIFT = 21;
/** Bin of zero. */
const MIDDLE = BINS / 2;
const INFINITY_BITS = 0x7f800000;

/** Separates the scores of a rank and above from those below; to be called once per score, in order of position. */
class TopKThreshold {
  readonly #value: number;
  readonly #firstTie: number;
  readonly #endTie: number;
  #ties = 0;

  /**
   * Starts before the first score.
   *
   * @param value Score at the threshold, as `sortableBits` returns it.
   * @param firstTie First of the scores equal to it that is taken.
   * @param endTie The one after the last that is taken.
   */
  constructor(value: number, firstTie: number, endTie: number) {
    this.#value = value;
    this.#firstTie = firstTie;
    this.#endTie = endTie;
  }

  /** Whether the next score is among the largest. */
  takes(score: number): boolean {
    if (score !== this.#value) return score > this.#value;
    const tie = this.#ties++;
    return tie >= this.#firstTie && tie < this.#endTie;
  }
}

/**
 * Converts scores in place into integers that have the same order.
 *
 * @param scores Numbers; both zeros become the same.
 * @returns The same memory as integers.
 * @throws {RequirementError} If a score is not a number.
 */
export function sortableBits(scores: Float32Array<ArrayBuffer>): Int32Array {
  const bits = new Int32Array(scores.buffer, scores.byteOffset, scores.length);
  for (let index = 0; index < bits.length; index++) {
    const value = bits[index]!;
    if ((value & 0x7fffffff) > INFINITY_BITS) {
      throw new RequirementError({
        action: "rank tokens",
        requirement: "saliency must be a number",
        current: NaN,
      });
    }
    if (value < 0) bits[index] = value === -0x80000000 ? 0 : value ^ 0x7fffffff;
  }
  return bits;
}

/**
 * Finds the thresholds of several ranks.
 *
 * @param scores Scores as `sortableBits` returns them, in order of position.
 * @param ranks How many scores to take at each threshold; at most as many as there are.
 * @param ties Which of equal scores are taken first.
 * @returns A threshold for each rank.
 */
export function topKThresholds(
  scores: Int32Array,
  ranks: readonly number[],
  ties: TieRule,
): TopKThreshold[] {
  const bins = new Int32Array(BINS);
  for (let index = 0; index < scores.length; index++) {
    bins[(scores[index]! >> BIN_SHIFT) + MIDDLE]! += 1;
  }
  return ranks.map((rank) => {
    if (rank <= 0) return new TopKThreshold(0x7fffffff, 0, 0);
    let bin = BINS - 1;
    let left = rank;
    while (left > bins[bin]!) left -= bins[bin--]!;
    const same = scoresIn(scores, bin, bins[bin]!).sort();
    const value = same[same.length - left]!;
    const firstEqual = same.indexOf(value);
    const endEqual = same.lastIndexOf(value) + 1;
    const equal = endEqual - firstEqual;
    const taken = left - (same.length - endEqual);
    return ties === "earlier"
      ? new TopKThreshold(value, 0, taken)
      : new TopKThreshold(value, equal - taken, equal);
  });
}

/** Scores of one bin. */
function scoresIn(scores: Int32Array, bin: number, count: number): Int32Array {
  const found = new Int32Array(count);
  for (let index = 0, next = 0; next < count; index++) {
    const score = scores[index]!;
    if ((score >> BIN_SHIFT) + MIDDLE === bin) found[next++] = score;
  }
  return found;
}
