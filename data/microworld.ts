/**
 * The micro-world: a seeded generator of the texts that the embedded pair is trained and graded on.
 *
 * Every task but `story` ends in a question whose answer the model writes on its own. In most of them
 * it looks up one early token after another, none of which could be foreseen when the prompt was read.
 * Training and evaluation items are told apart by a hash of their content, so that no evaluation
 * problem occurs in training text, not even with different filler.
 *
 * @module
 */

import { checkInteger, DataError, RequirementError } from "../core/check.ts";
import { derivedSeed, type Random, randomInteger, seededRandom } from "../core/random.ts";
import { type Dataset, takeTurns } from "./dataset.ts";
import type { DraftSize, Segment } from "./microworld/parts.ts";
import {
  ask,
  type DraftMaker,
  list,
  qa,
  roll,
  route,
  sort,
  story,
  sums,
} from "./microworld/tasks.ts";
import { countTokens } from "./microworld/text.ts";

export type { Random } from "../core/random.ts";
export type { DraftSize, Segment } from "./microworld/parts.ts";
export * from "./microworld/text.ts";

/** A task of the micro-world. */
export type MicroworldTask = "roll" | "route" | "list" | "sums" | "qa" | "sort" | "ask" | "story";

const MAKERS: Readonly<Record<MicroworldTask, DraftMaker>> = {
  roll,
  route,
  list,
  sums,
  qa,
  sort,
  ask,
  story,
};

/** All tasks. */
export const MICROWORLD_TASKS: readonly MicroworldTask[] = Object.keys(MAKERS) as MicroworldTask[];

/** Tasks with an answer, in the order of reports. */
export const GRADED_TASKS: readonly MicroworldTask[] = MICROWORLD_TASKS.filter((task) =>
  task !== "story"
);

/** One item. */
export interface MicroworldItem {
  /** Its task. */
  readonly task: MicroworldTask;
  /** Text that the model is given; begins with a space. */
  readonly prompt: string;
  /** Text that the model must write, to the last character; empty for `story`. */
  readonly answer: string;
  /** Prompt and answer in pieces with their loss weights. */
  readonly segments: readonly Segment[];
  /** Task, facts and question without filler and order: equal for the same problem. */
  readonly content: string;
}

/** Which part of the problems an item belongs to. */
export type MicroworldSplit = "training" | "evaluation";

/** Facts of an evaluation item, by task; the recipe of the embedded pair was measured with these. */
const EVALUATION_FACTS: Readonly<Record<string, number>> = {
  roll: 8,
  route: 8,
  list: 12,
  sums: 6,
  qa: 4,
  sort: 8,
  ask: 12,
};

/** Aims and bounds of evaluation items, in tokens. */
const EVALUATION_TOKENS = { aim: [370, 420], prompt: [250, 420] } as const;

/** One in this many problems belongs to the evaluation split. */
const SPLIT_SHARE = 8;

/** Draws before giving up on bounds that nothing meets. */
const MAX_DRAWS = 10_000;

/**
 * Makes an item of either split.
 *
 * @param size Length to aim at, in tokens, and how many facts.
 * @returns The item; may be a few tokens shorter or longer than the aim.
 */
export function microworldItem(
  task: MicroworldTask,
  random: Random,
  size: DraftSize,
): MicroworldItem {
  const { prompt, answer, content } = MAKERS[task](random, size);
  const text = (segments: readonly Segment[]) => segments.map((segment) => segment.text).join("");
  return {
    task,
    prompt: text(prompt),
    answer: text(answer),
    segments: [...prompt, ...answer],
    content: `${task}:${content}`,
  };
}

/**
 * Tells which split an item belongs to; stories are for training only.
 *
 * @returns Its split, by a hash of its content.
 */
export function microworldSplit(item: Pick<MicroworldItem, "task" | "content">): MicroworldSplit {
  if (item.task === "story") return "training";
  return derivedSeed(0, item.content) % SPLIT_SHARE === 0 ? "evaluation" : "training";
}

/** How evaluation items are drawn. */
export interface EvaluationOptions {
  /** How many. */
  readonly count: number;
  /** Seed (default 99). */
  readonly seed?: number;
  /** Factor on the number of facts, so that 0.5 asks for half as many (default 1). */
  readonly factShare?: number;
  /** Shortest and longest prompt without the begin token, in tokens (default 250 to 420). */
  readonly promptTokens?: readonly [min: number, max: number];
}

/**
 * Draws evaluation items of one task.
 *
 * @param task A task with an answer.
 * @param options How many, and how.
 * @returns Items of the evaluation split, no two with the same content.
 * @throws {RequirementError} If the task has no answer, or the count is no whole number.
 * @throws {DataError} If no item meets the bounds.
 */
export function evaluationItems(
  task: MicroworldTask,
  options: EvaluationOptions,
): MicroworldItem[] {
  const { count, seed = 99, factShare = 1, promptTokens = EVALUATION_TOKENS.prompt } = options;
  const usual = EVALUATION_FACTS[task];
  if (usual === undefined) {
    throw new RequirementError({
      action: "draw evaluation items",
      requirement: "the task must have an answer",
      current: task,
    });
  }
  checkInteger("draw evaluation items", "count", { value: count, min: 0 });
  const random = seededRandom(derivedSeed(seed, `microworld evaluation ${task}`));
  const facts = Math.max(2, Math.round(usual * factShare));
  const items = new Map<string, MicroworldItem>();
  for (let draw = 0; items.size < count; draw++) {
    if (draw > MAX_DRAWS + count * SPLIT_SHARE * 4) throw unmet(task, promptTokens);
    const [shortest, longest] = EVALUATION_TOKENS.aim;
    const tokens = shortest + randomInteger(random, longest - shortest + 1);
    const item = microworldItem(task, random, { tokens, facts });
    const length = countTokens(item.prompt);
    const fits = length >= promptTokens[0] && length <= promptTokens[1];
    const isNew = !items.has(item.content);
    if (fits && isNew && microworldSplit(item) === "evaluation") items.set(item.content, item);
  }
  return [...items.values()];
}

/** How training items are drawn. */
export interface TrainingOptions {
  /** Seed of the series. */
  readonly seed: number;
  /** Shortest and longest aim, in tokens of prompt and answer. */
  readonly tokens: readonly [min: number, max: number];
  /** Relative share of each task; tasks left out do not occur. All equal if left out. */
  readonly mix?: Readonly<Partial<Record<MicroworldTask, number>>>;
}

/**
 * Draws an endless series of training items.
 *
 * @returns Items of the training split.
 * @throws {RequirementError} If the mix holds no task.
 */
export function* trainingItems(options: TrainingOptions): Generator<MicroworldItem, never> {
  const { seed, tokens: [shortest, longest], mix } = options;
  const shares = MICROWORLD_TASKS.map((task) => mix === undefined ? 1 : mix[task] ?? 0);
  const total = shares.reduce((sum, share) => sum + share, 0);
  if (!(total > 0)) {
    throw new RequirementError({
      action: "draw training items",
      requirement: "the shares of the mix must sum to more than 0",
      current: total,
    });
  }
  const random = seededRandom(derivedSeed(seed, "microworld training"));
  while (true) {
    let rest = random() * total;
    const index = shares.findIndex((share) => (rest -= share) < 0);
    const task = MICROWORLD_TASKS[index] ?? "roll";
    const tokens = shortest + randomInteger(random, longest - shortest + 1);
    const item = microworldItem(task, random, { tokens });
    if (microworldSplit(item) === "training") yield item;
  }
}

/** Prompts of all graded tasks, from each in turn. */
export const microworld: Dataset = {
  name: "microworld",
  files: [],
  texts(_folder, limit) {
    const count = Math.ceil(limit / GRADED_TASKS.length);
    const lists = GRADED_TASKS.map((task) =>
      evaluationItems(task, { count }).map(({ prompt, answer }, index) => ({
        id: `${task}/${index}`,
        group: task,
        text: prompt,
        answer,
      }))
    );
    return Promise.resolve(takeTurns(lists, limit));
  },
};

function unmet(task: MicroworldTask, [min, max]: readonly [number, number]): DataError {
  return new DataError(
    `Cannot draw evaluation items: ${task} prompts must be able to have ${min} to ${max} tokens: current value is none in ${MAX_DRAWS} draws`,
  );
}
