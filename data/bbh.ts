/**
 * BIG-Bench Hard: 27 tasks, three-shot chain of thought.
 *
 * @see {@link https://arxiv.org/abs/2210.09261 | Challenging BIG-Bench Tasks}
 * @module
 */

import { DataError } from "../core/check.ts";
import { PYTHON_WORD, splitWords, strip } from "../core/python_text.ts";
import {
  type Dataset,
  datasetPaths,
  groupTexts,
  malformed,
  parseJson,
  readDataFile,
} from "./dataset.ts";

/** A question with its answer. */
export interface BbhItem {
  /** The question. */
  readonly input: string;
  /** The answer: "(B)", a word, or several. */
  readonly target: string;
}

/** A task with everything needed to ask it. */
export interface BbhTask {
  /** Name, such as "word_sorting". */
  readonly name: string;
  /** Description and three worked examples. */
  readonly exemplars: string;
  /** 146 to 250 questions. */
  readonly items: readonly BbhItem[];
}

/** Text at which generation stops. */
export const BBH_STOP = "\n\nQ:";
/** Most tokens of an answer. */
export const BBH_MAX_TOKENS = 512;

const TASK_FOLDER = "bbh/tasks/";
const CANARY_END = /^-{5}\r?\n/m;

/** Says an answer: neither "isn't", nor "is not", nor a longer word says one. */
const STATED = new RegExp(
  `the answer is(?![${PYTHON_WORD}]|['\u2019][${PYTHON_WORD}]|\\s+not(?![${PYTHON_WORD}])):?`,
  "iu",
);

/**
 * Lists the tasks.
 *
 * @returns Names in alphabetical order.
 */
export function bbhTasks(): string[] {
  return datasetPaths("bbh").filter((path) => path.startsWith(TASK_FOLDER))
    .map((path) => path.slice(TASK_FOLDER.length, -".json".length))
    .sort();
}

/**
 * Extracts the worked examples from a prompt file: everything after the canary and its line of dashes.
 *
 * @returns Description and exemplars, trimmed.
 * @throws {DataError} If there is no line of dashes after a canary.
 */
export function bbhExemplars(text: string, place: string): string {
  const line = CANARY_END.exec(text);
  if (line === null) {
    throw malformed(place, "a canary, a line of five dashes and exemplars", "another form");
  }
  return text.slice(line.index + line[0].length).trim();
}

/**
 * Parses a task file.
 *
 * @throws {DataError} If it is not a list of questions with targets.
 */
export function parseBbh(text: string, place: string): BbhItem[] {
  const examples = parseJson<{ examples?: unknown } | null>(text, place)?.examples;
  const isItem = (item: Partial<BbhItem> | null) =>
    typeof item?.input === "string" && typeof item.target === "string";
  if (Array.isArray(examples) && examples.every(isItem)) return examples;
  throw malformed(place, "an object with examples of input and target", "another form");
}

/**
 * Reads a task.
 *
 * @throws {DataError} If a file is missing or damaged, or there is no such task.
 */
export async function readBbhTask(folder: string, name: string): Promise<BbhTask> {
  if (!bbhTasks().includes(name)) {
    throw new DataError(
      `Cannot read BBH: the task must be one of ${bbhTasks().join(", ")}: current value is ${name}`,
    );
  }
  const [tasks, prompts] = [`${TASK_FOLDER}${name}.json`, `bbh/cot-prompts/${name}.txt`];
  const items = parseBbh(await readDataFile(folder, tasks), tasks);
  return { name, items, exemplars: bbhExemplars(await readDataFile(folder, prompts), prompts) };
}

/**
 * Writes the prompt of a question.
 *
 * @returns The prompt, up to the first words of the reasoning.
 */
export function bbhPrompt(exemplars: string, input: string): string {
  return `${bbhHeader(exemplars)}${bbhQuestion(input)}`;
}

/** Writes the part of a prompt that is a question's own. */
export function bbhQuestion(input: string): string {
  return `Q: ${input}\nA: Let's think step by step.`;
}

/** Writes the part of a prompt that all questions of a task share. */
export function bbhHeader(exemplars: string): string {
  return `${exemplars}\n\n`;
}

/**
 * Finds the answer in what a model wrote.
 *
 * @param output The text; what follows a next question does not count.
 * @returns The rest of the line after the last "the answer is", without what ends the sentence; undefined
 *   without one. "The answer isn't" and "the answer is not" say none.
 */
export function bbhAnswer(output: string): string | undefined {
  const own = output.split(/(?:^|\n)Q:/)[0]!;
  const parts = own.split(STATED);
  return parts.length === 1
    ? undefined
    : strip(strip(parts.at(-1)!.split("\n")[0]!).replace(/[.!]$/, ""));
}

/**
 * Grades an answer: the letter for multiple choice, otherwise the whole answer, ignoring case.
 *
 * A letter counts in brackets, wherever it stands; without them, as the whole answer or before
 * punctuation; before further words only where it cannot be a word, as "A", "a" and "I" can.
 */
export function gradeBbh(output: string, target: string): boolean {
  const answer = bbhAnswer(output);
  if (answer === undefined) return false;
  const letter = /^\(([A-Z])\)$/.exec(target.trim())?.[1];
  if (letter !== undefined) return chosenLetter(answer) === letter;
  return normalize(answer) === normalize(target);
}

function chosenLetter(answer: string): string | undefined {
  const bracketed = /\(([A-Za-z])\)/.exec(answer)?.[1];
  const alone = /^([A-Za-z])(?:[).:,;]|$)|^([B-HJ-Z])\s/.exec(answer);
  return (bracketed ?? alone?.[1] ?? alone?.[2])?.toUpperCase();
}

function normalize(text: string): string {
  return splitWords(text).join(" ").toLowerCase();
}

/** Three-shot prompts, from each task in turn. */
export const bbh: Dataset = {
  name: "bbh",
  files: datasetPaths("bbh"),
  async texts(folder, limit) {
    const tasks = [];
    for (const name of bbhTasks().slice(0, limit)) {
      const { exemplars, items } = await readBbhTask(folder, name);
      tasks.push({ name, texts: items.map(({ input }) => bbhPrompt(exemplars, input)) });
    }
    return groupTexts(tasks, limit);
  },
};
