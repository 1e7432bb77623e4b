/**
 * The most salient of some tokens, found without sorting all of them.
 *
 * @module
 */

/** Which of equal scores come first. */
export type TieRule = "earlier" | "later";

/** Scores are first told apart by their sign, exponent and two more bits. */
const BINS = 2048;
const BIN_SHIFT = 21;
/** Bin of zero. */
const MIDDLE = BINS / 2;
const INFINITY_BITS = 0x7f800000;

/** Tells the scores of a rank and above from those below; asked once per score, in order of position. */
export class TopKThreshold {
  readonly #value: number;
  readonly #firstTie: number;
  readonly #endTie: number;
  #ties = 0;

  /**
   * Starts before the first score.
   *
   * @param value Score on the cut, as `sortableBits` gives it.
   * @param firstTie First of the scores equal to it that is taken.
   * @param endTie First of the later ones that is not.
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
 * Turns scores, in their place, into integers that compare as they do.
 *
 * @param scores Numbers; both zeros become the same.
 * @returns The same memory as integers.
 * @throws {RangeError} If a score is not a number.
 */
export function sortableBits(scores: Float32Array<ArrayBuffer>): Int32Array {
  const bits = new Int32Array(scores.buffer, scores.byteOffset, scores.length);
  for (let index = 0; index < bits.length; index++) {
    const value = bits[index]!;
    if ((value & 0x7fffffff) > INFINITY_BITS) {
      throw new RangeError("Cannot rank tokens: saliency must be a number: current value is NaN");
    }
    if (value < 0) bits[index] = value === -0x80000000 ? 0 : value ^ 0x7fffffff;
  }
  return bits;
}

/**
 * Cuts scores at several ranks.
 *
 * @param scores Scores as `sortableBits` gives them, in order of position.
 * @param ranks How many to take at each cut; at most as many as there are.
 * @param ties Which of equal scores come first.
 * @returns A cut for each rank.
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
