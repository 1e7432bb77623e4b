/**
 * What RULER's prompts are filled with: one repeated line, sentences of WikiText-2, and words.
 *
 * The original takes essays and a list of English words that are not part of the data here; both come
 * from WikiText-2 instead, so that scores compare policies, not papers.
 *
 * @module
 */

import { pick, type Random, randomInteger } from "../../core/random.ts";
import { wikitextParagraphs } from "../wikitext2.ts";

/** The original's line of noise. */
export const NOISE =
  "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

/** Sentences and words of a corpus. */
export interface Corpus {
  /** Sentences in the order of the corpus. */
  readonly sentences: readonly string[];
  /** Distinct words of lower-case letters, sorted; neither the most frequent ones nor those that occur once. */
  readonly words: readonly string[];
}

/** After an initial, as in "F. S. Flint", a sentence goes on. */
const SENTENCE_END = /(?<=[.!?]["”)]?)(?<!\b\p{Lu}\.) (?=["(\p{Lu}])/u;
const WORD = /^[a-z]{4,9}$/;
/** Words that are left out since they are the most frequent: "with" and "that" are poor names. */
const FREQUENT_WORDS = 200;

/** Reads sentences and words from the text of WikiText-2. */
export function readCorpus(content: string): Corpus {
  const sentences = wikitextParagraphs(content)
    .flatMap(({ text }) => plainText(text).split(SENTENCE_END));
  const counts = new Map<string, number>();
  for (const word of content.split(/\s+/)) {
    if (WORD.test(word)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const ranked = [...counts].filter(([, count]) => count > 1)
    .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  return { sentences, words: ranked.slice(FREQUENT_WORDS).map(([word]) => word).sort() };
}

/** Undoes the spaces that WikiText puts around punctuation. */
function plainText(text: string): string {
  return text
    .replace(/ @(.)@ /g, "$1")
    .replace(/" ([^"]*) "/g, '"$1"')
    .replace(/ ([,.;:!?%)\]]|n't\b|'(?:s|m|d|t|re|ve|ll)\b)/g, "$1")
    .replace(/([([$£]) /g, "$1");
}

/** Sentences from a place that is drawn; the corpus begins again after its end. */
export function drawSentences(random: Random, { sentences }: Corpus, count: number): string[] {
  const first = randomInteger(random, sentences.length);
  return Array.from({ length: count }, (_, at) => sentences[(first + at) % sentences.length]!);
}

/** A key or a value of a needle. */
export function drawName(
  random: Random,
  kind: "words" | "numbers" | "uuids",
  { words }: Corpus,
): string {
  if (kind === "words") return `${pick(random, words)}-${pick(random, words)}`;
  if (kind === "numbers") return String(1_000_000 + randomInteger(random, 9_000_000));
  const digit = (count = 16) => randomInteger(random, count).toString(16);
  const digits = (count: number) => Array.from({ length: count }, () => digit()).join("");
  const variant = "89ab"[randomInteger(random, 4)];
  return `${digits(8)}-${digits(4)}-4${digits(3)}-${variant}${digits(3)}-${digits(12)}`;
}

/** Letters that make a word without meaning. */
export function drawLetters(random: Random, count: number, first: "A" | "a"): string {
  const code = first.charCodeAt(0);
  const draw = () => String.fromCharCode(code + randomInteger(random, 26));
  return Array.from({ length: count }, draw).join("");
}

/** Draws distinct values. */
export function drawDistinct(count: number, draw: () => string): string[] {
  const values = new Set<string>();
  while (values.size < count) values.add(draw());
  return [...values];
}
