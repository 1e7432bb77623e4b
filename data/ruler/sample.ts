/**
 * What the tasks of RULER have in common: a prompt that grows with its filler, and the size that fits a length.
 *
 * @module
 */

import type { Random } from "../../core/random.ts";
import type { Corpus } from "./haystack.ts";

/** A prompt with its answers. */
export interface RulerPrompt {
  /** The document, with what comes before it. */
  readonly prefix: string;
  /** The question, and the beginning of its answer. */
  readonly question: string;
  /** What the answer must contain. */
  readonly answers: readonly string[];
  /** How deep in the document each answer's sentence stands: 0 at its beginning, 1 at its end. */
  readonly depths?: readonly number[];
}

/** What a prompt is made of. */
export interface RulerDraw {
  /** Draws; it begins again from the same seed for every size. */
  readonly random: Random;
  /** Text and words. */
  readonly corpus: Corpus;
  /** Number of the item within its task and length: needles go through the depths in turn. */
  readonly index: number;
  /** Aimed length of prompt and answer in tokens; the original's sizes depend on it. */
  readonly length: number;
  /** How much filler: lines, sentences or words. */
  readonly size: number;
}

/** A task of RULER. */
export interface RulerTask {
  /** Its name in the original. */
  readonly name: string;
  /** Most tokens of an answer. */
  readonly maxTokens: number;
  /** Least filler with which it can be made. */
  readonly minSize: number;
  /** Makes a prompt. */
  make(draw: RulerDraw): RulerPrompt;
}

/**
 * Finds the largest size that fits, by interpolation between one that does and one that does not.
 *
 * @param measure Tokens at a size; grows with it, more or less evenly.
 * @param bounds Most tokens, least size, and the size beyond which there is nothing to add.
 * @returns The size; undefined if the least does not fit.
 */
export function largestFit(
  measure: (size: number) => number,
  { limit, min, max }: { readonly limit: number; readonly min: number; readonly max: number },
): number | undefined {
  let low = { size: min, tokens: measure(min) };
  if (low.tokens > limit) return undefined;
  let high: typeof low | undefined;
  while (low.size + 1 < (high?.size ?? max + 1)) {
    const slope = high === undefined
      ? low.tokens / low.size
      : (high.tokens - low.tokens) / (high.size - low.size);
    const step = Math.max(1, Math.floor((limit - low.tokens) / Math.max(slope, Number.EPSILON)));
    const size = Math.min(low.size + step, (high?.size ?? max + 1) - 1);
    const tokens = measure(size);
    if (tokens > limit) high = { size, tokens };
    else low = { size, tokens };
  }
  return low.size;
}
