/**
 * Saliency per whitespace word, so that models with different tokenizers can be compared (Fig. 9).
 *
 * @module
 */

import { checkLength } from "../core/check.ts";

/** Saliency of the words of a text. */
export interface WordSaliency {
  /** Words in order, without whitespace. */
  readonly words: readonly string[];
  /** Saliency of each word. */
  readonly saliency: Float64Array;
}

/** Two models' saliency of the same words. */
export interface AlignedWords {
  /** Words that both texts begin with. */
  readonly words: readonly string[];
  /** Saliency by the first model. */
  readonly first: Float64Array;
  /** Saliency by the second model. */
  readonly second: Float64Array;
}

/**
 * Sums the saliency of tokens per word by character offsets.
 *
 * A token that covers several words is split in proportion to its characters; a token without any visible character (a
 * special token, a line break) belongs to no word and is left out.
 *
 * @param saliency Saliency of each token.
 * @param tokenTexts Text of each token; joined, they are the text.
 * @returns The words and their saliency.
 * @throws {RequirementError} If the lengths differ.
 */
export function wordSaliency(
  saliency: ArrayLike<number>,
  tokenTexts: readonly string[],
): WordSaliency {
  checkLength("add saliency up to words", "tokenTexts", {
    required: saliency.length,
    current: tokenTexts.length,
  });
  const words: string[] = [];
  const sums: number[] = [];
  let isInWord = false;
  tokenTexts.forEach((text, token) => {
    const characters = Array.from(text);
    const visible = characters.filter((character) => !isSpace(character)).length;
    for (const character of characters) {
      if (isSpace(character)) {
        isInWord = false;
        continue;
      }
      if (!isInWord) {
        words.push("");
        sums.push(0);
        isInWord = true;
      }
      words[words.length - 1] += character;
      sums[sums.length - 1]! += saliency[token]! / visible;
    }
  });
  return { words, saliency: Float64Array.from(sums) };
}

/**
 * Shortens two tokenizations of one text to the words that they have in common from the start.
 *
 * @param a Words by the first tokenizer.
 * @param b Words by the second tokenizer, whose text may end earlier or later.
 * @returns The common words and both saliencies.
 */
export function alignWords(a: WordSaliency, b: WordSaliency): AlignedWords {
  const limit = Math.min(a.words.length, b.words.length);
  let count = 0;
  while (count < limit && a.words[count] === b.words[count]) count++;
  return {
    words: a.words.slice(0, count),
    first: a.saliency.slice(0, count),
    second: b.saliency.slice(0, count),
  };
}

function isSpace(character: string): boolean {
  return /\s/u.test(character);
}
