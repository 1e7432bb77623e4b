/**
 * Graded answers of an evaluation as experiments read them: scores of settings, paired differences, curves.
 *
 * @module
 */

import { scoreInterval } from "../../analysis/score_intervals.ts";
import { averageScore, type Task } from "../../data/task.ts";
import { bootstrapInterval } from "../../core/bootstrap.ts";
import {
  compressedBudgets,
  lengthDifference,
  pairItems,
  scoreDifference,
} from "../../evaluation/comparisons.ts";
import { type VariantKey, variantOf } from "../../evaluation/policy_variants.ts";
import { isRunOnce, settingName } from "../../evaluation/settings.ts";
import type { ItemScore } from "../../evaluation/summary.ts";
import type { Figure, GradedAnswers, Measured, ResultTable } from "../experiment.ts";
import { lineOf, percent, tableOf } from "../result.ts";
import { seeded } from "../similarity.ts";

/**
 * A setting at a budget, as `["smallkv", 0.05]`, or the mean of an item over several of them; budgets of settings that keep
 * everything do not matter.
 */
export type GradedPoint = readonly [setting: string, ...ratios: number[]];

/** A setting against others on the items that all of them answered. */
export interface Contest {
  /** Scores of the setting. */
  readonly ours: readonly ItemScore[];
  /** Scores of the same items under each of the others. */
  readonly rivals: readonly (readonly ItemScore[])[];
}

/**
 * Names a variant as evaluations do.
 *
 * @param key Name of the variant.
 */
export function variantSetting(key: VariantKey): string {
  const { policy, options = {} } = variantOf(key);
  return settingName({ policy, options, pairing: "given" });
}

/** Scores of one task, or of some of its groups. */
export class Graded {
  /** Name of the task. */
  readonly name: string;
  /** Name of the task in tables. */
  readonly title: string;
  /** Scores of the task. */
  readonly scores: readonly ItemScore[];
  readonly #average: Task["average"];
  readonly #seed: number;

  private constructor(
    task: GradedAnswers["tasks"][number],
    scores: readonly ItemScore[],
    seed: number,
  ) {
    this.name = task.name;
    this.title = task.title;
    this.scores = scores;
    this.#average = task.average;
    this.#seed = seed;
  }

  /**
   * Finds the tasks that were answered.
   *
   * @param names Tasks in the order in which they are wanted.
   * @param input Seed of the run.
   * @param groups Keeps items of some groups only.
   */
  static tasks(
    { tasks, scores }: GradedAnswers,
    names: readonly string[],
    { seed, groups = () => true }: {
      readonly seed: number;
      readonly groups?: (group: string) => boolean;
    },
  ): Graded[] {
    return names.flatMap((name) => {
      const task = tasks.find((one) => one.name === name);
      const own = scores.filter((score) => score.task === name && groups(score.group));
      return task === undefined || own.length === 0 ? [] : [new Graded(task, own, seed)];
    });
  }

  /** Scores of a point, those of an item averaged over the budgets that were run. */
  at([setting, ...ratios]: GradedPoint): ItemScore[] {
    const own = this.scores.filter((score) => score.setting === setting);
    if (isRunOnce(setting)) return own;
    const lists = ratios.map((ratio) =>
      own.filter(({ budget }) => "ratio" in budget && budget.ratio === ratio)
    ).filter(({ length }) => length > 0);
    const [first = [], ...others] = lists;
    return others.reduce<ItemScore[]>((sum, list, index) => {
      const pairs = pairItems(sum, list);
      const blend = (one: number, other: number) => one + (other - one) / (index + 2);
      return pairs.first.map((score, place) => ({
        ...score,
        score: blend(score.score, pairs.second[place]!.score),
        tokens: blend(score.tokens, pairs.second[place]!.tokens),
      }));
    }, first);
  }

  /** A point against others, on common items. */
  contest(ours: GradedPoint, rivals: readonly GradedPoint[]): Contest {
    const common = rivals.reduce(
      (items, rival) => pairItems(items, this.at(rival)).first as ItemScore[],
      this.at(ours),
    );
    return {
      ours: common,
      rivals: rivals.map((rival) => pairItems(common, this.at(rival)).second),
    };
  }

  /** Shares of the cache at which anything was answered, ascending. */
  get ratios(): number[] {
    return compressedBudgets(this.scores)
      .flatMap((budget) => "ratio" in budget ? [budget.ratio] : []).sort((a, b) => a - b);
  }

  /** Score of a point in percent. */
  score(point: GradedPoint): Measured | undefined {
    return percent(this.#interval(this.at(point)));
  }

  /** Score of the first point minus that of the second on the items of both, in percentage points. */
  gain(first: GradedPoint, second: GradedPoint): Measured | undefined {
    return percent(scoreDifference(pairItems(this.at(first), this.at(second)), this.#average));
  }

  /** Tokens of answers, first minus second. */
  longer(first: GradedPoint, second: GradedPoint): Measured | undefined {
    return lengthDifference(pairItems(this.at(first), this.at(second)));
  }

  /** Score of the first point over that of the second on the items of both; undefined where the latter is 0. */
  ratio(first: GradedPoint, second: GradedPoint): Measured | undefined {
    return this.quotient(
      pairItems(this.at(first), this.at(second)),
      (items) => averageScore({ average: this.#average }, items),
    );
  }

  /** A number of the first items over that of the second, items resampled together. */
  quotient(
    { first, second }: ReturnType<typeof pairItems>,
    read: (items: readonly ItemScore[]) => number,
  ): Measured | undefined {
    if (first.length === 0 || read(second) === 0) return undefined;
    const over = (items: readonly ItemScore[], drawn: Uint32Array) =>
      read(Array.from(drawn, (index) => items[index]!));
    return bootstrapInterval(first.length, (drawn) => over(first, drawn) / over(second, drawn), {
      ...seeded({ seed: this.#seed }),
      method: "percentile",
    });
  }

  /** Settings in the order in which they occur, whose names are taken. */
  get settings(): string[] {
    return [...new Set(this.scores.map(({ setting }) => setting))];
  }

  /** Every setting at each of its budgets. */
  get points(): GradedPoint[] {
    return this.settings.flatMap((setting) =>
      this.#budgets(setting).map((ratio) => [setting, ratio] as const)
    );
  }

  /** Scores of settings at all budgets, with the difference to the full cache. */
  table(name: string, settings: readonly string[] = this.settings): ResultTable[] {
    const points = this.points.filter(([setting]) => settings.includes(setting));
    const rows = points.map((point) => ({
      "policy": point[0],
      "budget (%)": 100 * point[1]!,
      "score (%)": this.score(point),
      "minus full (%)": this.gain(point, ["full", 1]),
      "tokens minus full": this.longer(point, ["full", 1]),
      "items": this.at(point).length,
    }));
    return rows.length === 0
      ? []
      : [tableOf(`${name}_${this.name}`, `${this.title}: scores`, rows)];
  }

  /** Score against budget. */
  curves(name: string, title: string, settings: readonly string[] = this.settings): Figure[] {
    const flat = (setting: string) => this.#budgets(setting).at(0) === 1;
    const series = settings.filter((setting) => this.#budgets(setting).length > 0).map(
      (setting) => {
        const ratios = flat(setting) ? this.ratios : this.#budgets(setting);
        const points = ratios.map((ratio) => this.score([setting, ratio])!);
        return lineOf(setting, ratios.map((ratio) => 100 * ratio), points);
      },
    ).filter(({ x }) => x.length > 0);
    if (series.length === 0) return [];
    return [{
      name: `${name}_${this.name}`,
      title: `${title}, ${this.title}`,
      kind: "line",
      xTitle: "budget (% of the full cache)",
      yTitle: "score (%)",
      series,
      paper: [],
      contexts: new Set(this.scores.map(({ item }) => item)).size,
    }];
  }

  #budgets(setting: string): number[] {
    const ratios = isRunOnce(setting) ? [1] : this.ratios;
    return ratios.filter((ratio) => this.at([setting, ratio]).length > 0);
  }

  #interval(items: readonly ItemScore[]): Measured | undefined {
    if (items.length === 0) return undefined;
    const groups = items.map(({ group }) => group);
    return scoreInterval(items.map(({ score }) => score), groups, { average: this.#average });
  }
}

/**
 * Computes the share of contests in which the mean score is above that of all others.
 *
 * @param contests Contests; those without items do not count.
 * @param options Seed of the run.
 * @returns The share in percent; items are resampled together over all contests that they take part in.
 */
export function shareAhead(
  contests: readonly Contest[],
  { seed }: { readonly seed: number },
): Measured | undefined {
  const held = contests.filter(({ ours }) => ours.length > 0);
  const place = ({ task, item, prompt }: ItemScore) => `${task}\n${item}\n${prompt}`;
  const items = [...new Set(held.flatMap(({ ours }) => ours.map(place)))];
  if (items.length === 0) return undefined;
  const index = new Map(items.map((item, at) => [item, at]));
  const placed = held.map(({ ours, rivals }) => ({
    at: ours.map((score) => index.get(place(score))!),
    leads: rivals.map((rival) => ours.map(({ score }, one) => score - rival[one]!.score)),
  }));
  const statistic = (drawn: Uint32Array) => {
    const counts = new Uint32Array(items.length);
    for (const item of drawn) counts[item]!++;
    const known = placed.filter(({ at }) => at.some((item) => counts[item]! > 0));
    const won = known.filter(({ at, leads }) =>
      leads.every((lead) => lead.reduce((sum, one, i) => sum + counts[at[i]!]! * one, 0) > 1e-9)
    );
    return 100 * won.length / known.length;
  };
  return bootstrapInterval(items.length, statistic, { ...seeded({ seed }), method: "percentile" });
}
