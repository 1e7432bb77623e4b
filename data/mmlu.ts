/**
 * MMLU: multiple-choice questions on 57 subjects, five-shot.
 *
 * @see {@link https://arxiv.org/abs/2009.03300 | Measuring Massive Multitask Language Understanding}
 * @module
 */

import { DataError } from "../core/check.ts";
import { parseCsv } from "./csv.ts";
import { type Dataset, datasetPaths, groupTexts, malformed, readDataFile } from "./dataset.ts";

/** A question with four choices. */
export interface MmluItem {
  /** The question. */
  readonly question: string;
  /** Choices A to D. */
  readonly choices: readonly [string, string, string, string];
  /** Letter of the right choice. */
  readonly answer: "A" | "B" | "C" | "D";
}

/** A subject with everything needed to ask it. */
export interface MmluSubject {
  /** Name, such as "high_school_biology". */
  readonly name: string;
  /** Five answered questions. */
  readonly exemplars: readonly MmluItem[];
  /** Questions to be asked. */
  readonly items: readonly MmluItem[];
}

const LETTERS = ["A", "B", "C", "D"] as const;
const TEST_FILE = /^mmlu\/test\/(\w+)_test\.csv$/;

/**
 * Lists the subjects.
 *
 * @returns Names in alphabetical order.
 */
export function mmluSubjects(): string[] {
  return datasetPaths("mmlu").flatMap((path) => TEST_FILE.exec(path)?.[1] ?? []).sort();
}

/**
 * Parses a file of questions.
 *
 * @param text Comma-separated: question, four choices, letter; no header.
 * @throws {DataError} If a row has another form.
 */
export function parseMmlu(text: string, place: string): MmluItem[] {
  return parseCsv(text).map((row, index) => {
    const [question, a, b, c, d, letter] = row as [string, string, string, string, string, string];
    const answer = LETTERS.find((known) => known === letter?.trim());
    if (row.length === 6 && answer !== undefined) {
      return { question, choices: [a, b, c, d], answer };
    }
    throw malformed(
      `${place}, row ${index}`,
      "a question, four choices and a letter",
      `${row.length} fields`,
    );
  });
}

/**
 * Reads a subject.
 *
 * @throws {DataError} If a file is missing or damaged, or there is no such subject.
 */
export async function readMmluSubject(folder: string, name: string): Promise<MmluSubject> {
  if (!mmluSubjects().includes(name)) {
    throw new DataError(
      `Cannot read MMLU: the subject must be one of the 57: current value is ${name}`,
    );
  }
  const [dev, test] = [`mmlu/dev/${name}_dev.csv`, `mmlu/test/${name}_test.csv`];
  const exemplars = parseMmlu(await readDataFile(folder, dev), dev);
  return { name, exemplars, items: parseMmlu(await readDataFile(folder, test), test) };
}

/**
 * Writes the few-shot prompt of a question.
 *
 * @returns The prompt, up to "Answer:".
 */
export function mmluPrompt(
  subject: Pick<MmluSubject, "name" | "exemplars">,
  item: Pick<MmluItem, "question" | "choices">,
): string {
  return `${mmluHeader(subject)}${mmluQuestion(item)}`;
}

/** Writes the part of a prompt that all questions of a subject share. */
export function mmluHeader({ name, exemplars }: Pick<MmluSubject, "name" | "exemplars">): string {
  const topic = name.replaceAll("_", " ");
  const shots = exemplars.map((shot) => `${mmluQuestion(shot)} ${shot.answer}\n\n`).join("");
  return `The following are multiple choice questions (with answers) about ${topic}.\n\n${shots}`;
}

/** Writes the part of a prompt that is a question's own, up to "Answer:". */
export function mmluQuestion(
  { question, choices }: Pick<MmluItem, "question" | "choices">,
): string {
  const lines = choices.map((choice, index) => `${LETTERS[index]}. ${choice}`);
  return `${question.trim()}\n${lines.join("\n")}\nAnswer:`;
}

/**
 * Finds the letter that an answer begins with.
 *
 * A letter from A to D counts if its line holds nothing else but punctuation; a capital one also in
 * brackets, or before a full stop, colon, comma or bracket. "A cat" and "D'accord" begin with words.
 *
 * @returns The capital letter; undefined if it begins with none.
 */
export function mmluLetter(output: string): string | undefined {
  const [line = ""] = output.trimStart().split("\n");
  const alone = line.replace(/[!-/:-@[-`{-~]/g, "").trim().toUpperCase();
  if (/^[A-D]$/.test(alone)) return alone;
  const first = /^(?:\(([A-D])\)|([A-D])[.:,)])/.exec(line);
  return first?.[1] ?? first?.[2];
}

/** Grades an answer by the letter it begins with, as {@linkcode mmluLetter} finds it. */
export function gradeMmlu(output: string, item: Pick<MmluItem, "answer">): boolean {
  return mmluLetter(output) === item.answer;
}

/** Five-shot prompts, from each subject in turn. */
export const mmlu: Dataset = {
  name: "mmlu",
  files: datasetPaths("mmlu"),
  async texts(folder, limit) {
    const subjects = [];
    for (const name of mmluSubjects().slice(0, limit)) {
      const subject = await readMmluSubject(folder, name);
      subjects.push({ name, texts: subject.items.map((item) => mmluPrompt(subject, item)) });
    }
    return groupTexts(subjects, limit);
  },
};
