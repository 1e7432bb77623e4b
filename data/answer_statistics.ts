/**
 * How two answers compare, and whether one repeats itself, without a judge.
 *
 * @module
 */

import { splitWords } from "../core/python_text.ts";

/**
 * ROUGE-L of two texts, each as one sequence of words in lower case.
 *
 * @returns F1 of the longest common subsequence, 0 to 1; 1 for two empty texts.
 * @see {@link https://aclanthology.org/W04-1013/ | ROUGE, equation 4 with β = 1}
 */
export function wordRougeL(output: string, reference: string): number {
  const [rows, columns] = [output, reference].map((text) => splitWords(text.toLowerCase()));
  if (rows!.length + columns!.length === 0) return 1;
  let above = new Uint32Array(columns!.length + 1);
  for (const word of rows!) {
    const current = new Uint32Array(above.length);
    columns!.forEach((other, j) => {
      current[j + 1] = word === other ? above[j]! + 1 : Math.max(above[j + 1]!, current[j]!);
    });
    above = current;
  }
  return 2 * above.at(-1)! / (rows!.length + columns!.length);
}

/**
 * Share of a text's word 4-grams that occurred before in it.
 *
 * @returns 0 to below 1; 0 for fewer than five words.
 */
export function repeatedShare(text: string): number {
  const words = splitWords(text);
  const count = words.length - 3;
  if (count <= 0) return 0;
  const distinct = new Set(
    Array.from({ length: count }, (_, at) => words.slice(at, at + 4).join(" ")),
  );
  return 1 - distinct.size / count;
}

/** Counts the words at which two texts begin alike. */
export function commonWords(output: string, reference: string): number {
  const [words, others] = [splitWords(output), splitWords(reference)];
  const first = words.findIndex((word, index) => word !== others[index]);
  return first < 0 ? words.length : first;
}
