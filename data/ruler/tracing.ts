/**
 * RULER's tracing and aggregation: chains of variables, common words and frequent words.
 *
 * @see {@link https://arxiv.org/abs/2404.06654 | RULER, sections 3.2 and 3.3}
 * @module
 */

import { type Random, randomInteger, sample, shuffle } from "../../core/random.ts";
import { type Corpus, drawDistinct, drawLetters, NOISE } from "./haystack.ts";
import type { RulerPrompt, RulerTask } from "./sample.ts";

/** Assignments of a chain after its first. */
const HOPS = 4;
/** Lines of noise of the example that comes first, and the length from which it has all of them. */
const EXAMPLE = { lines: 5, length: 4096 };
/** Words that are asked for. */
const COMMON_WORDS = 10;
/** Length from which lists repeat their words as often as in the original. */
const LONG = 4096;

const variableTracking: RulerTask = {
  name: "vt",
  maxTokens: 30,
  minSize: 2,
  make({ random, length, size }) {
    const lines = Math.max(2, Math.round(EXAMPLE.lines * Math.min(1, length / EXAMPLE.length)));
    const example = chain(random, { letters: 3, size: lines });
    const own = chain(random, { letters: 5, size });
    return {
      prefix: `${example.prefix}${example.question}${example.answers.join(" ")}\n\n${own.prefix}`,
      question: own.question.trimEnd(),
      answers: own.answers,
      depths: own.depths!,
    };
  },
};

function chain(
  random: Random,
  { letters, size }: { readonly letters: number; readonly size: number },
): RulerPrompt {
  const names = drawDistinct(HOPS + 1, () => drawLetters(random, letters, "A"));
  const value = 10_000 + randomInteger(random, 90_000);
  const assignments = names.map((name, at) =>
    at === 0 ? `VAR ${name} = ${value}` : `VAR ${name} = VAR ${names[at - 1]}`
  );
  const lines = Array.from({ length: size }, () => NOISE);
  // Few lines are taken apart, so that a chain still has sentences between its parts.
  const sentences = size > names.length ? lines : lines.flatMap((line) => line.split(/(?<=\.) /));
  const places = sample(random, sentences.map((_, at) => at), names.length).sort((a, b) => a - b);
  const context = sentences.flatMap((sentence, at) => {
    const placed = places.indexOf(at);
    return placed < 0 ? [sentence] : [assignments[placed]!, sentence];
  }).join("\n");
  return {
    prefix: "Memorize and track the chain(s) of variable assignment hidden in the following text." +
      `\n\n${context}\n`,
    question: `Question: Find all variables that are assigned the value ${value} in the text ` +
      "above. Answer: According to the chain(s) of variable assignment in the text above, " +
      // The spelling is the original's.
      `${names.length} variables are assgined the value ${value}, they are: `,
    answers: names,
    depths: assignments.map((text) =>
      Math.round(1000 * context.indexOf(text) / context.length) / 1000
    ),
  };
}

const commonWords: RulerTask = {
  name: "cwe",
  maxTokens: 120,
  minSize: COMMON_WORDS + 1,
  make({ random, corpus, length, size }) {
    const [shown, asked] = length < LONG
      ? [{ size: 20, common: 3, other: 1 }, { size, common: 6, other: 1 }]
      : [{ size: 40, common: 10, other: 3 }, { size, common: 30, other: 3 }];
    const example = wordList(random, corpus, shown);
    const own = wordList(random, corpus, asked);
    const answer = numbered(example.answers);
    return {
      prefix: `${example.prefix}${example.question} ${answer}\n${own.prefix}`,
      question: own.question,
      answers: own.answers,
    };
  },
};

function wordList(
  random: Random,
  { words }: Corpus,
  { size, common, other }: {
    readonly size: number;
    readonly common: number;
    readonly other: number;
  },
): RulerPrompt {
  const drawn = sample(random, words, Math.min(size, words.length));
  const repeated = drawn.flatMap((word, at) =>
    Array.from({ length: at < COMMON_WORDS ? common : other }, () => word)
  );
  return {
    prefix: "Below is a numbered list of words. In these words, some appear more often than " +
      "others. Memorize the ones that appear most often.\n" +
      `${numbered(shuffle(random, repeated))}\n`,
    question: "Question: What are the 10 most common words in the above list? " +
      "Answer: The top 10 words that appear most often in the list are:",
    answers: drawn.slice(0, COMMON_WORDS),
  };
}

function numbered(words: readonly string[]): string {
  return words.map((word, at) => `${at + 1}. ${word}`).join(" ");
}

const frequentWords: RulerTask = {
  name: "fwe",
  maxTokens: 50,
  minSize: 100,
  make({ random, length, size }) {
    const count = Math.max(4, Math.floor(length / 50));
    const vocabulary = drawDistinct(count, () => drawLetters(random, 6, "a"));
    // Frequencies follow Zipf's law with exponent 2; the most frequent word is noise.
    const zeta = Math.PI ** 2 / 6;
    const words = vocabulary.flatMap((word, at) =>
      Array.from(
        { length: Math.floor(size / (zeta * (at + 1) ** 2)) },
        () => at === 0 ? "..." : word,
      )
    );
    return {
      prefix: "Read the following coded text and track the frequency of each coded word. Find " +
        `the three most frequently appeared coded words. ${shuffle(random, words).join(" ")}\n`,
      question: "Question: Do not provide any explanation. Please ignore the dots '....'. What " +
        "are the three most frequently appeared words in the above coded text? Answer: According " +
        "to the coded text above, the three most frequently appeared words are:",
      answers: vocabulary.slice(1, 4),
    };
  },
};

/** The three of them. */
export const TRACING_TASKS: readonly RulerTask[] = [variableTracking, commonWords, frequentWords];
