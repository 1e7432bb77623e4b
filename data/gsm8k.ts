/**
 * GSM8K: grade-school word problems, eight-shot chain of thought.
 *
 * @see {@link https://arxiv.org/abs/2110.14168 | Training Verifiers to Solve Math Word Problems}
 * @see {@link https://arxiv.org/abs/2201.11903 | Chain-of-Thought Prompting, for the exemplars}
 * @module
 */

import { PYTHON_WORD } from "../core/python_text.ts";
import { type Dataset, malformed, parseJsonLines, readDataFile } from "./dataset.ts";

/** A problem with its reference answer. */
export interface Gsm8kItem {
  /** The problem. */
  readonly question: string;
  /** Worked solution, with the number after "####". */
  readonly answer: string;
}

/** A worked example of the prompt. */
export interface Gsm8kExemplar {
  /** The problem. */
  readonly question: string;
  /** Reasoning that ends with "The answer is N." */
  readonly target: string;
}

/** The test split and the exemplars. */
export interface Gsm8k {
  /** 1,319 problems. */
  readonly items: readonly Gsm8kItem[];
  /** 8 exemplars. */
  readonly exemplars: readonly Gsm8kExemplar[];
}

/** Whether an answer is right under both usual rules. */
export interface Gsm8kGrade {
  /** The number after "The answer is" is right. */
  readonly strict: boolean;
  /** The last number of the text is right. */
  readonly lenient: boolean;
  /** The number after "The answer is", without "$" and commas; undefined if there is none. */
  readonly stated: string | undefined;
  /** The last number of the text. */
  readonly last: string | undefined;
}

/** Text at which generation stops. */
export const GSM8K_STOP = "\nQ:";
/** Most tokens of an answer, for a base model and for a chat model. */
export const GSM8K_MAX_TOKENS: { readonly base: number; readonly chat: number } = {
  base: 256,
  chat: 512,
};

const TEST = "gsm8k/test.jsonl";
const EXEMPLARS = "gsm8k/cot_8shot.jsonl";
/** Says a number: neither "isn't" nor "is not" says one. */
const STATED = new RegExp(
  `The answer is(?![${PYTHON_WORD}]|['\u2019][${PYTHON_WORD}]|\\s+not(?![${PYTHON_WORD}]))` +
    "[^0-9\\n.-]*(-?\\$?[0-9.,]*[0-9])",
  "u",
);
const NUMBER = /-?\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)/g;

/**
 * Parses a file of problems.
 *
 * @param text JSON lines.
 * @throws {DataError} If a line lacks a field or a reference number.
 */
export function parseGsm8k(text: string): Gsm8kItem[] {
  return parseJsonLines<Partial<Gsm8kItem> | null>(text, TEST).map((item, index) => {
    if (typeof item?.question === "string" && referenceNumber(item.answer) !== undefined) {
      return item as Gsm8kItem;
    }
    throw malformed(`${TEST}, item ${index}`, "a question and an answer with ####", "another form");
  });
}

/**
 * Parses the file of exemplars.
 *
 * @param text JSON lines.
 * @throws {DataError} If a line lacks a field.
 */
export function parseGsm8kExemplars(text: string): Gsm8kExemplar[] {
  return parseJsonLines<Partial<Gsm8kExemplar> | null>(text, EXEMPLARS).map((item, index) => {
    if (typeof item?.question === "string" && typeof item.target === "string") {
      return item as Gsm8kExemplar;
    }
    throw malformed(`${EXEMPLARS}, item ${index}`, "a question and a target", "another form");
  });
}

/**
 * Reads the dataset.
 *
 * @throws {DataError} If a file is missing or damaged.
 */
export async function readGsm8k(folder: string): Promise<Gsm8k> {
  const items = parseGsm8k(await readDataFile(folder, TEST));
  return { items, exemplars: parseGsm8kExemplars(await readDataFile(folder, EXEMPLARS)) };
}

/**
 * Writes the few-shot prompt of a problem.
 *
 * @param exemplars Worked examples in the order in which they appear.
 * @returns The prompt, up to "A:".
 */
export function gsm8kPrompt(question: string, exemplars: readonly Gsm8kExemplar[]): string {
  return `${gsm8kHeader(exemplars)}Q: ${question}\nA:`;
}

/** Writes the part of a prompt that all problems share. */
export function gsm8kHeader(exemplars: readonly Gsm8kExemplar[]): string {
  return exemplars.map((shot) => `Q: ${shot.question}\nA: ${shot.target}\n\n`).join("");
}

/** Grades an answer; text from the next "Q:" on does not count. */
export function gradeGsm8k(output: string, item: Pick<Gsm8kItem, "answer">): Gsm8kGrade {
  const reference = referenceNumber(item.answer);
  const text = output.split(/(?:^|\n)Q:/)[0]!;
  const plain = (found: string | undefined) => found?.replace(/[$,]/g, "");
  const stated = plain(STATED.exec(text)?.[1]);
  const last = plain(text.match(NUMBER)?.at(-1));
  const isRight = (found: string | undefined) =>
    found !== undefined && reference !== undefined && Number(found) === reference;
  return { strict: isRight(stated), lenient: isRight(last), stated, last };
}

function referenceNumber(answer: unknown): number | undefined {
  if (typeof answer !== "string") return undefined;
  const found = /####\s*(-?\$?[\d.,]*\d)/.exec(answer)?.[1];
  return found === undefined ? undefined : Number(found.replace(/[$,]/g, ""));
}

/** Eight-shot prompts; each begins with a different exemplar, so that prompts differ from the start. */
export const gsm8k: Dataset = {
  name: "gsm8k",
  files: [TEST, EXEMPLARS],
  async texts(folder, limit) {
    const { items, exemplars } = await readGsm8k(folder);
    return items.slice(0, limit).map(({ question }, index) => {
      const first = index % exemplars.length;
      const rotated = [...exemplars.slice(first), ...exemplars.slice(0, first)];
      return { id: String(index), group: "gsm8k", text: gsm8kPrompt(question, rotated) };
    });
  },
};
