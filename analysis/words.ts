/**
 * Saliency per whitespace word, so that models with different tokenizers can be compared (Fig. 9).
 *
 * @module
 */

import { checkLength } from "../core/check.ts";
import { PYTHON_SPACE } from "../core/python_text.ts";

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
 * A token that covers several words is split in proportion to its characters. A token that holds a part of a character
 * belongs to the word of that character. A token without any visible character (a special token, a line break) belongs
 * to no word and is left out.
 *
 * @param saliency Saliency of each token.
 * @param tokenTexts Text of each token; joined, they are the text. A special token is null. A character that is spread
 *   over several tokens is the text of its last one; the others are empty.
 * @returns The words and their saliency.
 * @throws {RequirementError} If the lengths differ.
 */
export function wordSaliency(
  saliency: ArrayLike<number>,
  tokenTexts: readonly (string | null)[],
): WordSaliency {
  checkLength("add saliency up to words", "tokenTexts", {
    required: saliency.length,
    current: tokenTexts.length,
  });
  const words: string[] = [];
  const sums: number[] = [];
  const parts = partSums(saliency, tokenTexts);
  let isInWord = false;
  tokenTexts.forEach((text, token) => {
    const characters = Array.from(text ?? "");
    const visible = characters.filter((character) => !isSpace(character)).length;
    for (const [place, character] of characters.entries()) {
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
      sums[sums.length - 1]! += saliency[token]! / visible + (place === 0 ? parts[token]! : 0);
    }
  });
  return { words, saliency: Float64Array.from(sums) };
}

/** Saliency of the tokens that hold a part of the first character of each token. */
function partSums(
  saliency: ArrayLike<number>,
  tokenTexts: readonly (string | null)[],
): Float64Array {
  const sums = new Float64Array(tokenTexts.length);
  completingTokens(tokenTexts).forEach((whole, part) => {
    if (whole >= 0) sums[whole]! += saliency[part]!;
  });
  return sums;
}

/**
 * Finds the tokens that hold a part of a character: those without text before a text that begins with more bytes.
 *
 * A character has no more parts than bytes; what stands before them, or before one byte, is a marker.
 *
 * @param tokenTexts Text of each token; null for a special one.
 * @returns For each part the token whose text begins with its character, otherwise -1, [tokens].
 */
export function completingTokens(tokenTexts: readonly (string | null)[]): Int32Array {
  const wholes = new Int32Array(tokenTexts.length).fill(-1);
  let parts: number[] = [];
  tokenTexts.forEach((text, token) => {
    if (text === "") parts.push(token);
    if (!text) return;
    const code = text.codePointAt(0)!;
    // What never became a character is written as U+FFFD and may have been three bytes.
    const most = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 && code !== 0xfffd ? 2 : 3;
    for (const part of most === 0 ? [] : parts.slice(-most)) wholes[part] = token;
    parts = [];
  });
  return wholes;
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

const SPACE = new RegExp(`[${PYTHON_SPACE}]`, "u");

function isSpace(character: string): boolean {
  return SPACE.test(character);
}
