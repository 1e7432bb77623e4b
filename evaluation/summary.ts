/**
 * Scores of an evaluation: which answers count, their grades item by item, and the table of means.
 *
 * @module
 */

import type { CacheBudget } from "../cache/budget.ts";
import { POLICIES } from "../cache/policies/mod.ts";
import { scoreInterval } from "../analysis/score_intervals.ts";
import type { Interval } from "../core/bootstrap.ts";
import { RequirementError } from "../core/check.ts";
import { contentHash } from "../core/hash.ts";
import { mean } from "../core/stats.ts";
import type { Task, TaskGrade } from "../data/task.ts";
import { answerKey, type AnswerRow, isAnswer, type Row } from "./answer_row.ts";
import { settingName } from "./settings.ts";

/** Answers that count, and how many of each version of the code there are. */
export interface CountedAnswers {
  /** One for each question and setting. */
  readonly answers: readonly AnswerRow[];
  /** Number of answers that count, by the hash of the code. */
  readonly counted: Readonly<Record<string, number>>;
  /** Number of answers that do not, by the hash of the code. */
  readonly uncounted: Readonly<Record<string, number>>;
}

/** Which versions of the code count. */
export interface AcceptedCode {
  /** Hash of the code that runs now; its answers win over those of other versions. */
  readonly code: string;
  /** Other versions that count, by the first digits of their hashes, or any; none if left out. */
  readonly accept?: readonly string[] | "any";
}

/**
 * Picks the answers that count.
 *
 * @param rows Lines of a file.
 * @param accepted Versions of the code.
 */
export function countedAnswers(rows: readonly Row[], accepted: AcceptedCode): CountedAnswers {
  const { code, accept = [] } = accepted;
  const isAccepted = (row: AnswerRow) =>
    row.code === code || accept === "any" || accept.some((hash) => row.code.startsWith(hash));
  const all = rows.filter(isAnswer);
  const chosen = new Map<string, AnswerRow>();
  for (const row of all.filter(isAccepted)) {
    const key = answerKey(row);
    if (chosen.get(key)?.code !== code) chosen.set(key, row);
  }
  const answers = [...chosen.values()];
  const used = new Set(answers);
  const counts = (list: readonly AnswerRow[]) =>
    Object.fromEntries(
      [...Map.groupBy(list, (row) => row.code)].map(([hash, { length }]) => [hash, length] as const)
        .sort(([a], [b]) => a < b ? -1 : 1),
    );
  return {
    answers,
    counted: counts(answers),
    uncounted: counts(all.filter((row) => !used.has(row))),
  };
}

/** Grade of an item under a setting, its seeds averaged; what statistics are computed from. */
export interface ItemScore {
  /** Name of the task. */
  readonly task: string;
  /** Id of the item. */
  readonly item: string;
  /** Group of the item. */
  readonly group: string;
  /** Hash of its prompt; settings are paired by item and prompt. */
  readonly prompt: string;
  /** What else is known of the item. */
  readonly facts?: AnswerRow["facts"];
  /** Models that decided it, by hash. */
  readonly models: AnswerRow["models"];
  /** Name of the setting, without its budget and seed. */
  readonly setting: string;
  /** What may be kept. */
  readonly budget: CacheBudget;
  /** Seeds that were run. */
  readonly seeds: number;
  /** Mean grade over seeds, 0 to 1. */
  readonly score: number;
  /** New tokens of all turns, mean over seeds. */
  readonly tokens: number;
  /** Share of the seeds in which an answer was cut off at the limit. */
  readonly cut: number;
  /** Share of the seeds in which every turn ended with a token that ends a text. */
  readonly ended: number;
  /** Tokens of the first turn. */
  readonly promptTokens: number;
  /** Tokens that a full cache would hold at the end, mean over seeds; absent if not known. */
  readonly cachedTokens?: number;
  /** Bytes of keys and values at the end, mean over seeds. */
  readonly bytes: AnswerRow["bytes"];
  /** Seconds of prompts and steps together, mean over seeds. */
  readonly seconds: number;
  /** Seconds of steps alone, mean over seeds. */
  readonly decodeSeconds: number;
}

/**
 * Lists the scores of all items, sorted by task, setting, budget and item, so that settings can be paired by item.
 *
 * @param answers Answers that count; those without a grade are passed over.
 */
export function itemScores(answers: readonly AnswerRow[]): ItemScore[] {
  const graded = answers.filter(({ grade }) => grade !== null);
  const groups = Map.groupBy(graded, (row) => {
    const { task, item, prompt, budget, smallBudget = null, smallLayers = 0 } = row;
    const small = row.models.small ?? "";
    return contentHash({
      place: [task, item, prompt, settingName(row), small, smallLayers],
      budgets: [{ ...budget }, smallBudget && { ...smallBudget }],
    });
  });
  const scores = [...groups.values()].map((seeds): ItemScore => {
    const [{ task, item, group, prompt, facts, models, budget, promptTokens }] = seeds as [
      AnswerRow,
    ];
    const over = (value: (row: AnswerRow) => number) => mean(seeds.map(value));
    const lengths = knownLengths(seeds.map(cachedTokens));
    return {
      task,
      item,
      group,
      prompt,
      ...(facts && { facts }),
      models,
      setting: settingName(seeds[0]!),
      budget,
      seeds: seeds.length,
      score: over(({ grade }) => grade!.score),
      tokens: over((row) => row.answers.reduce((sum, { tokens }) => sum + tokens, 0)),
      cut: over((row) => Number(row.answers.some(({ end }) => end === "limit"))),
      ended: over((row) => Number(row.answers.every(({ end }) => end === "end token"))),
      promptTokens,
      ...(lengths && { cachedTokens: mean(lengths) }),
      bytes: {
        large: over(({ bytes }) => bytes.large),
        small: over(({ bytes }) => bytes.small),
        host: over(({ bytes }) => bytes.host),
      },
      seconds: over(({ seconds }) => seconds.prompt + seconds.decode),
      decodeSeconds: over(({ seconds }) => seconds.decode),
    };
  });
  return scores.sort(byPlace);
}

/** Tokens of the whole text that have been in the cache; older lines lack what their later turns asked. */
function cachedTokens({ cachedTokens, promptTokens, answers }: AnswerRow): number | undefined {
  const [first, ...later] = answers;
  // The newest token is not in the cache.
  return cachedTokens ?? (later.length > 0 ? undefined : promptTokens + first!.tokens - 1);
}

function knownLengths(lengths: readonly (number | undefined)[]): readonly number[] | undefined {
  return lengths.every((length) => length !== undefined) ? lengths : undefined;
}

const ORDER = ["full", "small model alone", ...POLICIES.map(({ name }) => name)];

/** The full cache and the small model first, then policies in the order of their list, smaller budgets first. */
function byPlace(a: ItemScore, b: ItemScore): number {
  const rank = ({ setting }: ItemScore) =>
    ORDER.findIndex((name) => new RegExp(`^${name}(?![\\w])`).test(setting));
  return compare(a.task, b.task) || rank(a) - rank(b) || compare(a.setting, b.setting) ||
    budgetSize(a.budget) - budgetSize(b.budget) || compare(a.item, b.item);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** Sorts budgets: shares before numbers of tokens. */
export function budgetSize(budget: CacheBudget): number {
  return "ratio" in budget ? budget.ratio : 1 + budget.tokens;
}

/** Means of a task under a setting. */
export interface SummaryCell {
  /** Name of the task. */
  readonly task: string;
  /** Name of the setting. */
  readonly setting: string;
  /** What may be kept. */
  readonly budget: CacheBudget;
  /** Items that were answered. */
  readonly items: number;
  /** Seeds of each. */
  readonly seeds: number;
  /** Score, 0 to 1, as the task averages it; 95 % interval, see `scoreInterval`. */
  readonly score: Interval;
  /** Mean score by group. */
  readonly groups: Readonly<Record<string, { readonly items: number; readonly score: number }>>;
  /** New tokens of an item, mean. */
  readonly tokens: number;
  /** Share of items with an answer that was cut off at the limit. */
  readonly cut: number;
  /** Share of items whose answers all ended with a token that ends a text. */
  readonly ended: number;
  /** Models that decided it, by hash. */
  readonly models: AnswerRow["models"];
  /** Tokens of a prompt, mean. */
  readonly promptTokens: number;
  /** Tokens that a full cache would hold at the end, mean; absent if not known of an item. */
  readonly cachedTokens?: number;
  /** Bytes of keys and values at the end, mean. */
  readonly bytes: AnswerRow["bytes"];
  /** Seconds of an item, mean. */
  readonly seconds: number;
}

/** Groups scores by task, setting and budget, in their order. */
export function scoresBySetting(scores: readonly ItemScore[]): ItemScore[][] {
  const groups = Map.groupBy(
    scores,
    ({ task, setting, budget }) => `${task}\n${setting}\n${budgetSize(budget)}`,
  );
  return [...groups.values()];
}

/**
 * Averages scores over the items of each task, setting and budget.
 *
 * @param scores Scores in the order of `itemScores`.
 * @param tasks Tasks, which say what they average; all others average items.
 */
export function summaryCells(
  scores: readonly ItemScore[],
  tasks: readonly Pick<Task, "name" | "average">[],
): SummaryCell[] {
  return scoresBySetting(scores).map((items) => {
    const [{ task, setting, budget }] = items as [ItemScore];
    const { average = "items" } = tasks.find(({ name }) => name === task) ?? {};
    const over = (value: (score: ItemScore) => number) => mean(items.map(value));
    const groups = Map.groupBy(items, ({ group }) => group);
    const lengths = knownLengths(items.map(({ cachedTokens }) => cachedTokens));
    return {
      task,
      setting,
      budget,
      items: items.length,
      seeds: Math.max(...items.map(({ seeds }) => seeds)),
      score: scoreInterval(
        items.map(({ score }) => score),
        items.map(({ group }) => group),
        { average },
      ),
      groups: Object.fromEntries(
        [...groups].map(([name, list]) => [name, {
          items: list.length,
          score: mean(list.map(({ score }) => score)),
        }]),
      ),
      tokens: over(({ tokens }) => tokens),
      cut: over(({ cut }) => cut),
      ended: over(({ ended }) => ended),
      models: items[0]!.models,
      promptTokens: over(({ promptTokens }) => promptTokens),
      ...(lengths && { cachedTokens: mean(lengths) }),
      bytes: {
        large: over(({ bytes }) => bytes.large),
        small: over(({ bytes }) => bytes.small),
        host: over(({ bytes }) => bytes.host),
      },
      seconds: over(({ seconds }) => seconds),
    };
  });
}

/** Items of a task that no answer exists for since they do not fit the context. */
export function skippedItems(rows: readonly Row[]): Record<string, number> {
  const answered = new Set(rows.filter(isAnswer).map(({ task, item }) => `${task}\n${item}`));
  const left = new Map(
    rows.filter((row) => !isAnswer(row)).map((row) => [`${row.task}\n${row.item}`, row.task]),
  );
  const counts: Record<string, number> = {};
  for (const [place, task] of left) {
    if (!answered.has(place)) counts[task] = (counts[task] ?? 0) + 1;
  }
  return counts;
}

/**
 * Grades an answer.
 *
 * @param full The answer to the same item with the full cache, if it is known.
 * @returns The grade; null if the task cannot grade without that answer.
 */
export function gradeAnswers(
  task: Task,
  { answers, ...item }: Pick<AnswerRow, "answers" | "group" | "reference">,
  full?: readonly string[],
): TaskGrade | null {
  try {
    return task.grade(answers.map(({ text }) => text), item, full);
  } catch (error) {
    if (full === undefined && error instanceof RequirementError) return null;
    throw error;
  }
}

/**
 * Grades answers again, from what their lines hold.
 *
 * @param rows Lines of a file.
 * @param tasks Tasks; lines of others stay as they are.
 * @returns The lines, the same objects where no grade changed.
 */
export function regradedRows(rows: readonly Row[], tasks: readonly Task[]): Row[] {
  const place = ({ task, item, prompt, models }: AnswerRow) =>
    [task, item, prompt, models.large].join("\n");
  const full = new Map<string, readonly string[]>();
  for (const row of rows) {
    if (!isAnswer(row) || row.policy !== "full" || row.pairing !== "given") continue;
    full.set(place(row), row.answers.map(({ text }) => text));
  }
  return rows.map((row) => {
    const task = tasks.find(({ name }) => name === row.task);
    if (!isAnswer(row) || !task) return row;
    const grade = gradeAnswers(task, row, full.get(place(row)));
    return JSON.stringify(grade) === JSON.stringify(row.grade) ? row : { ...row, grade };
  });
}
