/**
 * Scores that compare two texts: token F1, ROUGE-L and character-level edit similarity.
 *
 * @module
 */

import { PYTHON_WORD, splitWords } from "../../core/python_text.ts";

/** ASCII punctuation. */
const PUNCTUATION = /[!-/:-@[-`{-~]/g;

const ARTICLE = new RegExp(`(?<![${PYTHON_WORD}])(?:a|an|the)(?![${PYTHON_WORD}])`, "gu");

/** Keeps the denominator above zero, as in the `rouge` package that LongBench uses. */
const EPSILON = 1e-8;

/**
 * Simplifies an answer as question-answering scores do.
 *
 * @returns Lower case, without punctuation, articles and extra spaces.
 */
export function normalizeAnswer(text: string): string {
  return splitWords(text.toLowerCase().replace(PUNCTUATION, "").replace(ARTICLE, " ")).join(" ");
}

/**
 * Compares two answers word by word, whatever the order.
 *
 * @returns Harmonic mean of precision and recall of the words, 0 to 1.
 */
export function tokenF1(output: string, reference: string): number {
  const written = splitWords(normalizeAnswer(output));
  const right = splitWords(normalizeAnswer(reference));
  const counts = new Map<string, number>();
  for (const word of right) counts.set(word, (counts.get(word) ?? 0) + 1);
  let common = 0;
  for (const word of written) {
    const left = counts.get(word) ?? 0;
    if (left > 0) common++;
    counts.set(word, left - 1);
  }
  if (common === 0) return 0;
  const precision = common / written.length;
  const recall = common / right.length;
  return 2 * precision * recall / (precision + recall);
}

/**
 * Computes the summary-level ROUGE-L of the `rouge` package, version 1.0.1: sentences end at full
 * stops, and only distinct words of each text count.
 *
 * @returns The F score, 0 to 1; 0 for empty texts.
 */
export function rougeL(output: string, reference: string): number {
  const written = sentences(output);
  const right = sentences(reference);
  if (written.length === 0 || right.length === 0) return 0;
  const shared = new Set<string>();
  for (const one of right) {
    for (const other of written) {
      for (const word of longestCommonWords(one, other)) shared.add(word);
    }
  }
  const precision = shared.size / new Set(written.flat()).size;
  const recall = shared.size / new Set(right.flat()).size;
  return 2 * precision * recall / (precision + recall + EPSILON);
}

/** An empty sentence counts as one empty word, as in the original. */
function sentences(text: string): string[][] {
  return text.split(".").filter((sentence) => sentence !== "")
    .map((sentence) => splitWords(sentence).join(" ").split(" "));
}

/** Words of one longest common subsequence; among several, the one the original finds. */
function longestCommonWords(rows: readonly string[], columns: readonly string[]): string[] {
  const width = columns.length + 1;
  const lengths = new Uint32Array((rows.length + 1) * width);
  for (let i = 1; i <= rows.length; i++) {
    for (let j = 1; j <= columns.length; j++) {
      lengths[i * width + j] = rows[i - 1] === columns[j - 1]
        ? lengths[(i - 1) * width + j - 1]! + 1
        : Math.max(lengths[(i - 1) * width + j]!, lengths[i * width + j - 1]!);
    }
  }
  const words: string[] = [];
  let [i, j] = [rows.length, columns.length];
  while (i > 0 && j > 0) {
    if (rows[i - 1] === columns[j - 1]) {
      words.push(rows[--i]!);
      j--;
    } else if (lengths[(i - 1) * width + j]! > lengths[i * width + j - 1]!) i--;
    else j--;
  }
  return words;
}

/**
 * Compares two lines character by character.
 *
 * @returns Twice the characters in common order over all characters, 0 to 1; 0 if one is empty.
 */
export function editSimilarity(output: string, reference: string): number {
  const [rows, columns] = [[...output], [...reference]];
  if (rows.length === 0 || columns.length === 0) return 0;
  let above = new Uint32Array(columns.length + 1);
  for (const character of rows) {
    const current = new Uint32Array(columns.length + 1);
    for (let j = 1; j <= columns.length; j++) {
      current[j] = character === columns[j - 1]
        ? above[j - 1]! + 1
        : Math.max(above[j]!, current[j - 1]!);
    }
    above = current;
  }
  return 2 * above[columns.length]! / (rows.length + columns.length);
}
