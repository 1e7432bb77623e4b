/**
 * How a text generated with a compressed cache differs from the one generated with the full cache.
 *
 * @see docs/method.md, "Quality without a judge"
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { rougeL } from "../data/longbench.ts";

/** A text and its tokens. */
export interface WrittenText {
  /** Token ids. */
  readonly tokens: readonly number[];
  /** The same as text. */
  readonly text: string;
}

/** Comparison of a text with its reference. */
export interface TextQuality {
  /** Index of the first token that differs; absent if all are equal. */
  readonly firstDivergence?: number;
  /** Share of the positions with equal tokens, 0 to 1. */
  readonly tokenAgreement: number;
  /** ROUGE-L F score of the texts, 0 to 1. */
  readonly rougeL: number;
  /** Share of the four-token sequences that occurred earlier in the text, 0 to 1. */
  readonly repeatedShare: number;
  /** Words of the text that the prompt does not have. */
  readonly newWords: readonly string[];
  /** Tokens of the text over those of the reference; 1 if both are empty. */
  readonly lengthRatio: number;
}

/**
 * Finds where a text starts to differ from another.
 *
 * @param reference Token ids of the reference.
 * @param tokens Token ids of the text.
 * @returns Index of the first difference; if one is a prefix of the other, its length. Undefined if they are equal.
 */
export function firstDivergence(
  reference: ArrayLike<number>,
  tokens: ArrayLike<number>,
): number | undefined {
  const shorter = Math.min(reference.length, tokens.length);
  for (let index = 0; index < shorter; index++) {
    if (reference[index] !== tokens[index]) return index;
  }
  return reference.length === tokens.length ? undefined : shorter;
}

/**
 * Compares two texts position by position.
 *
 * @param reference Token ids of the reference.
 * @param tokens Token ids of the text.
 * @returns Positions with equal tokens over the tokens of the longer text; 1 for two empty ones.
 */
export function tokenAgreement(reference: ArrayLike<number>, tokens: ArrayLike<number>): number {
  const longer = Math.max(reference.length, tokens.length);
  if (longer === 0) return 1;
  let equal = 0;
  for (let index = 0; index < Math.min(reference.length, tokens.length); index++) {
    if (reference[index] === tokens[index]) equal++;
  }
  return equal / longer;
}

/**
 * Measures how much a text repeats itself.
 *
 * @param items Tokens or words.
 * @param length Items of one sequence; 4 if left out.
 * @returns Share of the sequences that occurred earlier, in [0, 1); 0 for a text shorter than one sequence.
 * @throws {RequirementError} If the length is not a positive integer.
 *
 * @example
 * ```ts
 * import { repeatedShare } from "./quality_text.ts";
 * console.log(repeatedShare([1, 2, 1, 2, 1], 2)); // 0.5
 * ```
 */
export function repeatedShare(items: ArrayLike<number | string>, length: number = 4): number {
  checkInteger("measure repetition", "length", { value: length, min: 1 });
  const total = items.length - length + 1;
  if (total < 1) return 0;
  const seen = new Set<string>();
  for (let start = 0; start < total; start++) {
    seen.add(JSON.stringify(Array.from({ length }, (_, offset) => items[start + offset])));
  }
  return 1 - seen.size / total;
}

/**
 * Lists words of a text that its prompt does not have.
 *
 * @param text The generated text.
 * @param prompt The prompt.
 * @returns Distinct words of the text, in lower case and order of appearance, that the prompt does not have.
 */
export function newWords(text: string, prompt: string): string[] {
  const known = new Set(wordsOf(prompt));
  return [...new Set(wordsOf(text))].filter((word) => !known.has(word));
}

/**
 * Compares a text with its reference by all measures that need no judge.
 *
 * @param reference Text of the full cache.
 * @param written Text to compare.
 * @param context Prompt of both.
 * @returns All measures.
 */
export function compareTexts(
  reference: WrittenText,
  written: WrittenText,
  { prompt }: { readonly prompt: string },
): TextQuality {
  const divergence = firstDivergence(reference.tokens, written.tokens);
  const [right, ours] = [reference.tokens.length, written.tokens.length];
  return {
    ...(divergence !== undefined && { firstDivergence: divergence }),
    tokenAgreement: tokenAgreement(reference.tokens, written.tokens),
    // The score of equal texts is 1, even if they have no words.
    rougeL: reference.text === written.text ? 1 : rougeL(written.text, reference.text),
    repeatedShare: repeatedShare(written.tokens),
    newWords: newWords(written.text, prompt),
    lengthRatio: right === ours ? 1 : ours / Math.max(1, right),
  };
}

/** Runs of letters and digits, with apostrophes and hyphens inside. */
function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+(?:['’-][\p{L}\p{M}\p{N}]+)*/gu) ?? [];
}
