/**
 * LongBench: long documents with questions, summaries and code; and its small subset, MiniLongBench.
 *
 * @see {@link https://arxiv.org/abs/2308.14508 | LongBench}
 * @module
 */

import { checkInteger, DataError } from "../core/check.ts";
import { strip } from "../core/python_text.ts";
import {
  type Dataset,
  datasetPaths,
  groupTexts,
  isTexts,
  malformed,
  parseJson,
  readDataFile,
} from "./dataset.ts";
import { editSimilarity, rougeL, tokenF1 } from "./longbench/text_scores.ts";

export { editSimilarity, normalizeAnswer, rougeL, tokenF1 } from "./longbench/text_scores.ts";

/** How an answer is compared with a reference. */
export type LongBenchMetric = "tokenF1" | "rougeL" | "classification" | "numbers" | "edit";

/** Properties of a task. */
export interface LongBenchTask {
  /** Name in the files, such as "hotpotqa". */
  readonly name: string;
  /** Its score. */
  readonly metric: LongBenchMetric;
  /** Most tokens of an answer. */
  readonly maxTokens: number;
  /** Whether only the first line of an answer counts. */
  readonly usesFirstLine: boolean;
  /** Whether chat models get the prompt inside their template. */
  readonly usesChatTemplate: boolean;
  /** Whether the paper reports it. */
  readonly isInPaper: boolean;
}

/** A prompt with its right answers. */
export interface LongBenchItem {
  /** The complete prompt, not truncated. */
  readonly prompt: string;
  /** Right answers; the best match counts. */
  readonly answers: readonly string[];
  /** All class names, for classification. */
  readonly classes: readonly string[];
}

type Row = [name: string, metric: LongBenchMetric, maxTokens: number, flags?: string];

/** Flags: f first line only, p plain prompt for chat models too, x not in the paper. */
const ROWS: readonly Row[] = [
  ["narrativeqa", "tokenF1", 128],
  ["qasper", "tokenF1", 128],
  ["multifieldqa_en", "tokenF1", 64],
  ["hotpotqa", "tokenF1", 32],
  ["2wikimqa", "tokenF1", 32],
  ["musique", "tokenF1", 32],
  ["gov_report", "rougeL", 512],
  ["qmsum", "rougeL", 512],
  ["multi_news", "rougeL", 512],
  ["trec", "classification", 64, "fp"],
  ["triviaqa", "tokenF1", 32, "fp"],
  ["samsum", "rougeL", 128, "fp"],
  ["passage_count", "numbers", 32, "x"],
  ["passage_retrieval_en", "numbers", 32, "x"],
  ["lcc", "edit", 64, "p"],
  ["repobench-p", "edit", 64, "p"],
];

/** The sixteen English tasks and the code tasks. */
export const LONGBENCH_TASKS: readonly LongBenchTask[] = ROWS.map(
  ([name, metric, maxTokens, flags = ""]) => ({
    name,
    metric,
    maxTokens,
    usesFirstLine: flags.includes("f"),
    usesChatTemplate: !flags.includes("p"),
    isInPaper: !flags.includes("x"),
  }),
);

const MINI_FOLDER = "longbench/minilongbench/MiniLongBench_";

/**
 * Finds a task.
 *
 * @throws {DataError} If no task has that name.
 */
export function longBenchTask(name: string): LongBenchTask {
  const task = LONGBENCH_TASKS.find((known) => known.name === name);
  if (task !== undefined) return task;
  throw new DataError(
    `Cannot find a LongBench task: the name must be one of ${
      LONGBENCH_TASKS.map((known) => known.name).join(", ")
    }: current value is ${name}`,
  );
}

/**
 * Parses a file of MiniLongBench.
 *
 * @returns Its items in the order of their numbers.
 * @throws {DataError} If it has another form.
 */
export function parseMiniLongBench(text: string, place: string): LongBenchItem[] {
  const entries = parseJson<Record<string, Partial<MiniEntry> | null> | null>(text, place);
  if (typeof entries !== "object" || entries === null || Array.isArray(entries)) {
    throw malformed(place, "an object of numbered items", typeof entries);
  }
  return Object.entries(entries).sort(([a], [b]) => Number(a) - Number(b)).map(([key, entry]) => {
    const { origin_prompt: prompt, gold } = entry ?? {};
    const { answers, all_classes: classes = [] } = Array.isArray(gold)
      ? { answers: gold }
      : (gold ?? {}) as ClassifiedGold;
    if (typeof prompt !== "string" || !isTexts(answers) || !isTexts(classes)) {
      throw malformed(`${place}, item ${key}`, "a prompt with answers", "another form");
    }
    return { prompt, answers, classes };
  });
}

/** An item of a MiniLongBench file. */
interface MiniEntry {
  readonly origin_prompt: unknown;
  /** A list of answers, or of answers and class names. */
  readonly gold: unknown;
}

/** Right answers of a classification task. */
interface ClassifiedGold {
  readonly answers?: unknown;
  readonly all_classes?: unknown;
}

/**
 * Reads a task of MiniLongBench.
 *
 * @returns Its 4 to 26 items.
 * @throws {DataError} If the file is missing or damaged, or there is no such task.
 */
export async function readMiniLongBench(folder: string, name: string): Promise<LongBenchItem[]> {
  const path = `${MINI_FOLDER}${longBenchTask(name).name}.json`;
  return parseMiniLongBench(await readDataFile(folder, path), path);
}

/** Finds the part of an answer that counts: all of it, or its first line that is not empty. */
export function longBenchText(task: Pick<LongBenchTask, "usesFirstLine">, output: string): string {
  return task.usesFirstLine ? output.replace(/^\n+/, "").split("\n")[0]! : output;
}

/**
 * Scores an answer: the best over all references.
 *
 * @returns A score from 0 to 1.
 */
export function scoreLongBench(
  task: Pick<LongBenchTask, "metric" | "usesFirstLine">,
  output: string,
  item: Pick<LongBenchItem, "answers" | "classes">,
): number {
  const text = longBenchText(task, output);
  const scores = item.answers.map((answer) => {
    if (task.metric === "tokenF1") return tokenF1(text, answer);
    if (task.metric === "rougeL") return rougeL(text, answer);
    if (task.metric === "classification") return classScore(text, answer, item.classes);
    return task.metric === "numbers" ? numberScore(text, answer) : codeScore(text, answer);
  });
  return Math.max(0, ...scores);
}

/**
 * Splits the point among the classes named; names contained in the right one's name do not count.
 * The original removes them from the list that it goes through, and so skips the name after each.
 */
function classScore(output: string, answer: string, classes: readonly string[]): number {
  const named = classes.filter((name) => output.includes(name));
  for (let at = 0; at < named.length; at++) {
    if (named[at] !== answer && answer.includes(named[at]!)) named.splice(at, 1);
  }
  return named.includes(answer) ? 1 / named.length : 0;
}

/** Share of the numbers in the output that are right. */
function numberScore(output: string, answer: string): number {
  const right = /\p{Nd}+/u.exec(answer)?.[0];
  const found = output.match(/\p{Nd}+/gu) ?? [];
  return found.length === 0 ? 0 : found.filter((number) => number === right).length / found.length;
}

/** Compares the first line that is code. */
function codeScore(output: string, answer: string): number {
  const isCode = (line: string) =>
    strip(line) !== "" && !["`", "#", "//"].some((mark) => line.includes(mark));
  const line = output.split("\n").find(isCode);
  return editSimilarity(line ?? "", answer);
}

/**
 * Shortens a prompt to its beginning and end.
 *
 * @param limit Most tokens to keep.
 * @returns The first and the last half of the limit, or all tokens if they fit.
 */
export function truncateMiddle(tokens: readonly number[], limit: number): number[] {
  checkInteger("shorten a prompt", "limit", { value: limit, min: 2 });
  if (tokens.length <= limit) return [...tokens];
  const half = Math.floor(limit / 2);
  return [...tokens.slice(0, half), ...tokens.slice(-half)];
}

/** Prompts of the subset, from each task in turn. */
export const longBench: Dataset = {
  name: "longbench",
  files: datasetPaths("longbench").filter((path) => path.startsWith(MINI_FOLDER)),
  async texts(folder, limit) {
    const tasks = [];
    for (const { name } of LONGBENCH_TASKS.slice(0, limit)) {
      const items = await readMiniLongBench(folder, name);
      tasks.push({ name, texts: items.map(({ prompt }) => prompt) });
    }
    return groupTexts(tasks, limit);
  },
};
