/**
 * Comparisons of settings on the same items, corrected for how many were declared.
 *
 * @see docs/method.md, "Scores and comparisons"
 * @module
 */

import {
  comparePaired,
  holmAdjusted,
  type PairedComparison,
  pairedInterval,
} from "../analysis/paired_tests.ts";
import { stratifiedInterval } from "../analysis/score_intervals.ts";
import { budgetText, type CacheBudget } from "../cache/budget.ts";
import type { Interval } from "../core/bootstrap.ts";
import type { Task } from "../data/task.ts";
import { isRunOnce } from "./settings.ts";
import type { ItemScore } from "./summary.ts";

/** A comparison that is made at every budget of every task. */
export interface DeclaredComparison {
  /** Name of the setting that is looked at; see `settingName`. */
  readonly first: string;
  /** Name of the setting that it is compared with. */
  readonly second: string;
  /** Where the first is expected. */
  readonly expected: "above" | "below";
}

/** Two settings on the items that both answered. */
export interface PairedItems {
  /** Items of the first setting, in the order of the scores. */
  readonly first: readonly ItemScore[];
  /** The same items under the second one. */
  readonly second: readonly ItemScore[];
}

/** A comparison that was made. */
export interface SettingComparison extends DeclaredComparison, PairedComparison {
  /** Name of the task. */
  readonly task: string;
  /** Budget of the first setting, and of the second unless it keeps everything. */
  readonly budget: CacheBudget;
  /** p after Holm's correction over the family. */
  readonly adjusted: number;
  /** What it tells at a level of 5 % for the whole family. */
  readonly outcome: "as declared" | "opposite" | "cannot tell";
}

/** All comparisons of an evaluation. */
export interface ComparisonFamily {
  /** Comparisons that were declared for the tasks and budgets there are, made or not. */
  readonly size: number;
  /** Those that were made. */
  readonly comparisons: readonly SettingComparison[];
}

/** Chance of any false finding in a family. */
export const LEVEL = 0.05;

/** Whether a budget keeps everything. */
function isWhole(budget: CacheBudget): boolean {
  return "ratio" in budget && budget.ratio === 1;
}

/**
 * Lists budgets that compress, each once, in the order of the scores.
 */
export function compressedBudgets(scores: readonly Pick<ItemScore, "budget">[]): CacheBudget[] {
  const budgets = scores.map(({ budget }) => budget).filter((budget) => !isWhole(budget));
  return [...new Map(budgets.map((budget) => [budgetText(budget), budget])).values()];
}

/**
 * Finds the items that two settings answered.
 *
 * @param scores Scores of one task.
 * @param budget Budget of both; a setting that is run once has no other.
 */
export function pairedItems(
  scores: readonly ItemScore[],
  names: Pick<DeclaredComparison, "first" | "second">,
  budget: CacheBudget,
): PairedItems {
  const of = (name: string) =>
    scores.filter((score) =>
      score.setting === name &&
      (isRunOnce(name) || budgetText(score.budget) === budgetText(budget))
    );
  return pairItems(of(names.first), of(names.second));
}

/** Pairs scores by item and prompt. */
export function pairItems(one: readonly ItemScore[], other: readonly ItemScore[]): PairedItems {
  const place = ({ task, item, prompt }: ItemScore) => `${task}\n${item}\n${prompt}`;
  const others = new Map(other.map((score) => [place(score), score]));
  const first = one.filter((score) => others.has(place(score)));
  return { first, second: first.map((score) => others.get(place(score))!) };
}

/**
 * Makes declared comparisons at every budget of every task.
 *
 * @param scores Scores as `itemScores` gives them.
 * @param tasks What the tasks average.
 * @param declared The family for one task and budget.
 */
export function compareSettings(
  scores: readonly ItemScore[],
  tasks: readonly Pick<Task, "name" | "average">[],
  declared: readonly DeclaredComparison[],
): ComparisonFamily {
  const places = tasks.flatMap(({ name, average }) => {
    const own = scores.filter(({ task }) => task === name);
    return compressedBudgets(own).map((budget) => ({ task: name, average, own, budget }));
  });
  const made = places.flatMap(({ task, average, own, budget }) =>
    declared.flatMap((names) => {
      const { first, second } = pairedItems(own, names, budget);
      if (first.length === 0) return [];
      const compared = comparePaired(
        first.map(({ score }) => score),
        second.map(({ score }) => score),
        first.map(({ group }) => group),
        { average },
      );
      return [{ ...names, ...compared, task, budget }];
    })
  );
  const size = places.length * declared.length;
  const adjusted = holmAdjusted(made.map(({ p }) => p), size);
  return {
    size,
    comparisons: made.map((comparison, index) => {
      const { difference: { value }, expected } = comparison;
      const isExpected = expected === "above" ? value > 0 : value < 0;
      const found = isExpected ? "as declared" as const : "opposite" as const;
      const outcome = adjusted[index]! <= LEVEL ? found : "cannot tell" as const;
      return { ...comparison, adjusted: adjusted[index]!, outcome };
    }),
  };
}

/**
 * Computes the difference of the scores of two settings on the same items.
 *
 * @param average What the task's score is the mean of.
 * @returns First minus second with its interval; undefined without common items, and of a setting with itself.
 */
export function scoreDifference(
  pairs: PairedItems,
  average: Task["average"],
): Interval | undefined {
  return differenceOf(pairs, ({ score }) => score, { average, interval: pairedInterval });
}

/** Computes the difference of the tokens of answers, as {@link scoreDifference} does for scores. */
export function lengthDifference(pairs: PairedItems): Interval | undefined {
  return differenceOf(pairs, ({ tokens }) => tokens, {
    average: "items",
    interval: stratifiedInterval,
  });
}

function differenceOf(
  { first, second }: PairedItems,
  read: (score: ItemScore) => number,
  { average, interval }: {
    readonly average: Task["average"];
    readonly interval: typeof pairedInterval;
  },
): Interval | undefined {
  if (first.every((score, index) => score === second[index])) return undefined;
  return interval(
    first.map((score, index) => read(score) - read(second[index]!)),
    first.map(({ group }) => group),
    { average },
  );
}
