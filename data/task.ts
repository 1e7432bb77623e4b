/**
 * Graded tasks: prompts with what is needed to grade their answers, and the rules that all tasks share.
 *
 * @module
 */

import { RequirementError } from "../core/check.ts";
import type { JsonValue } from "../core/json.ts";
import { derivedSeed, seededRandom, shuffle } from "../core/random.ts";
import { takeTurns } from "./dataset.ts";

/** One prompt with what is needed to grade its answer. */
export interface TaskItem {
  /** Unique within its task and stable, for example "word_sorting/17", so that later runs add to earlier ones. */
  readonly id: string;
  /** Subtask: BBH's 27, a subject of MMLU, a task of LongBench, a task of RULER and its length. */
  readonly group: string;
  /** Beginning of the first turn: a few-shot header that items of a group share, or a document; may be empty. */
  readonly prefix: string;
  /** What the user says, turn by turn; the first continues the prefix. */
  readonly turns: readonly string[];
  /** Whether turns stand in the model's chat template; otherwise the model continues the text. */
  readonly isChat: boolean;
  /**
   * When the cache is first compressed: once the prompt is read, or before what follows the prefix.
   *
   * The latter where the first token of the answer is the answer: a policy that compresses after the prompt
   * cannot change that token.
   */
  readonly compressAfter: "prompt" | "prefix";
  /** Texts at which an answer ends; they are not part of it. */
  readonly stops: readonly string[];
  /** Most tokens of an answer, in each turn. */
  readonly maxTokens: number;
  /** What the grader compares with. */
  readonly reference: JsonValue;
  /** What else is known of the item, for figures: the depths of needles, the tokens that truncation removed. */
  readonly facts?: Readonly<Record<string, JsonValue>>;
}

/** How good an answer is. */
export interface TaskGrade {
  /** 0 to 1. */
  readonly score: number;
  /** The part of the answer that was compared; null where there is none. */
  readonly extracted: string | null;
  /** Grades under other rules, and counts. */
  readonly details?: Readonly<Record<string, number | string | boolean>>;
}

/** What a task needs of a tokenizer: no special tokens are added, and none are written. */
export interface TaskTokenizer {
  /** Token ids of a text. */
  encode(text: string): readonly number[];
  /** Text of token ids. */
  decode(ids: readonly number[]): string;
}

/** Which items of a task are asked, and how long their prompts are. */
export interface TaskOptions {
  /** Folder with the task's data files. */
  readonly folder: string;
  /** Most items, taken from each group in turn; a larger limit adds to a smaller one's items. All if left out. */
  readonly limit?: number;
  /** Decides the order of the items, and the content of those that are generated (default 0). */
  readonly seed?: number;
  /** Measures prompts; tasks that truncate or generate to a length require it. */
  readonly tokenizer?: TaskTokenizer;
  /** Most tokens of a prompt with its answer; tasks that truncate require it. */
  readonly contextTokens?: number;
  /** Lengths of generated prompts with their answers, in tokens (default: the task's own). */
  readonly lengths?: readonly number[];
  /** What becomes of prompts that are longer than the context (default: truncated, as the benchmark says). */
  readonly tooLong?: "truncate" | "leave out";
  /** Told of each item that is left out since it is longer than the context, in the order of the items. */
  readonly onLeftOut?: (item: LeftOutItem) => void;
}

/** An item that is longer than the context. */
export interface LeftOutItem extends Pick<TaskItem, "id" | "group"> {
  /** The whole prompt. */
  readonly text: string;
  /** Its tokens. */
  readonly promptTokens: number;
  /** Tokens of the prompt with its answer and what a template adds. */
  readonly tokens: number;
}

/** A task: where its prompts come from, and how answers are graded. */
export interface Task {
  /** Name on the command line and in results. */
  readonly name: string;
  /** Name in tables. */
  readonly title: string;
  /** What its score is, in a few words. */
  readonly metric: string;
  /** Options of its items that other tasks pass over; none if left out. */
  readonly options?: readonly ("lengths" | "tooLong")[];
  /** Files it reads, as named in the manifest; none if it is generated. */
  readonly files: readonly string[];
  /** What the task's score is the mean of: its items, or its groups' means. */
  readonly average: "items" | "groups";
  /**
   * Lists items in an order that is fixed by the seed.
   *
   * @throws {DataError} If a file is missing or damaged.
   * @throws {RequirementError} If the tokenizer or a length is missing or makes no sense.
   */
  items(options: TaskOptions): Promise<TaskItem[]>;
  /**
   * Grades an answer.
   *
   * @param answers The answer of each turn, without the text at which it stopped.
   * @param item The item, or what a file keeps of it.
   * @param full Answers with the full cache; tasks without references compare with them.
   */
  grade(answers: readonly string[], item: GradedItem, full?: readonly string[]): TaskGrade;
  /**
   * Whether nothing that an answer goes on with can change its grade, so that it need not go on.
   *
   * Left out where that cannot be said early.
   */
  isSettled?(answer: string, item: GradedItem): boolean;
}

/** What grading needs of an item. */
export type GradedItem = Pick<TaskItem, "group" | "reference">;

/**
 * Takes the tokenizer of a task that measures its prompts.
 *
 * @param task Name of the task, for the error.
 * @throws {RequirementError} If there is none.
 */
export function requireTokenizer(
  task: string,
  { tokenizer }: Pick<TaskOptions, "tokenizer">,
): TaskTokenizer {
  if (tokenizer !== undefined) return tokenizer;
  throw new RequirementError({
    action: `list items of ${task}`,
    requirement: "a tokenizer must measure its prompts",
    current: "none",
  });
}

/** An entry of a group, and where it was. */
export interface PickedEntry<T> {
  /** Name of the group. */
  readonly group: string;
  /** Place in the group's list, from 0. */
  readonly index: number;
  /** The entry. */
  readonly entry: T;
}

/**
 * Takes entries from each group in turn, in an order drawn from a seed.
 *
 * @param groups Lists by name; empty ones are passed over.
 * @param options Limit and seed; a larger limit adds entries at the end.
 * @returns The entries in the order in which they are asked.
 */
export function pickEntries<T>(
  groups: ReadonlyMap<string, readonly T[]>,
  { limit = Infinity, seed = 0 }: Pick<TaskOptions, "limit" | "seed">,
): PickedEntry<T>[] {
  checkLimit(limit);
  const random = (label: string) => seededRandom(derivedSeed(seed, label));
  const lists = shuffle(random("groups"), [...groups]).map(([group, entries]) =>
    shuffle(random(group), entries.map((entry, index) => ({ group, index, entry })))
  );
  return takeTurns(lists, limit);
}

/** Checks a limit once, so that a negative or broken one does not mean none. */
export function checkLimit(limit: number): void {
  if (limit === Infinity || (Number.isInteger(limit) && limit >= 1)) return;
  throw new RequirementError({
    action: "list items",
    requirement: "the limit must be an integer from 1",
    current: limit,
  });
}

/**
 * Averages scores as a task does.
 *
 * @param scores Scores with their groups.
 * @returns The mean over items, or over the groups that have any; NaN without scores.
 */
export function averageScore(
  task: Pick<Task, "average">,
  scores: readonly { readonly group: string; readonly score: number }[],
): number {
  const mean = (values: readonly number[]) =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  if (task.average === "items") return mean(scores.map(({ score }) => score));
  const groups = Map.groupBy(scores, ({ group }) => group).values();
  return mean([...groups].map((group) => mean(group.map(({ score }) => score))));
}
