/**
 * Writes tables of graded answers into documents, from committed evaluations: scores by budget, by total bytes, and the
 * declared differences.
 *
 * A table stands between two lines of comment, the first of which says what it holds:
 *
 * ```md
 * <!-- Written by `deno task index` from results/evaluation/NAME: scores of ruler -->
 * <!-- Written by `deno task index` from results/evaluation/NAME: totals of ruler -->
 * <!-- Written by `deno task index` from results/evaluation/NAME: differences of ruler -->
 * <!-- Written by `deno task index` from results/evaluation/NAME: scores of ruler under full, h2o -->
 * ```
 *
 * All cells of a task are of the same items: those that every setting has answered with every budget.
 *
 * @module
 */

import { budgetText, type CacheBudget } from "../cache/budget.ts";
import { DataError } from "../core/check.ts";
import {
  compareSettings,
  type ComparisonFamily,
  compressedBudgets,
  type SettingComparison,
} from "../evaluation/comparisons.ts";
import { type BestOfTotal, equalTotals, type SettingTotal } from "../evaluation/equal_totals.ts";
import { type EvaluationSummary, readScores } from "../evaluation/folder.ts";
import { VARIANTS } from "../evaluation/policy_variants.ts";
import { isRunOnce, settingName } from "../evaluation/settings.ts";
import {
  budgetSize,
  type ItemScore,
  scoresBySetting,
  type SummaryCell,
  summaryCells,
} from "../evaluation/summary.ts";
import { POLICY_COMPARISONS } from "../experiments/claims.ts";
import { toldApart } from "../experiments/report/evaluation_totals.ts";

const BEGIN =
  /^<!-- Written by `deno task index` from results\/evaluation\/(\S+): (scores|totals|differences) of (\w+)(?: under (.+))? -->$/gm;
const END = "<!-- End of what is written -->";

/** Settings in the order of tables; all others follow. */
const ORDER = [
  "full",
  "small model alone",
  "random",
  "h2o",
  "pyramid_budget",
  "smallkv",
  "smallkv:normalize=rows",
  "smallkv_query_aware",
];

/** Names in tables; all others are those of the command line. */
const LABELS: ReadonlyMap<string, string> = new Map([
  ...Object.values(VARIANTS).map((variant) => {
    const { policy, label } = variant;
    const options = "options" in variant ? variant.options : {};
    return [settingName({ policy, options, pairing: "given" }), label] as const;
  }),
  ["small model alone", "small model alone"],
  ["random", "random"],
  ["key_sketch:rest=mean", "`key_sketch`, rest as one token"],
]);

/** What tables are written from. */
export interface ScoredEvaluation
  extends Pick<EvaluationSummary, "models" | "tasks" | "cells" | "totals"> {
  /** The declared comparisons. */
  readonly family: ComparisonFamily;
}

/**
 * Sums up an evaluation by the items that all settings of a task share.
 *
 * @param folder Folder of the evaluation.
 * @returns The summary of these scores, and the scores.
 * @throws {DataError} If it holds no evaluation.
 */
export async function sharedEvaluation(
  folder: string,
): Promise<ScoredEvaluation & { readonly scores: readonly ItemScore[] }> {
  const { summary: { models, tasks }, scores: all } = await readScores(folder);
  const scores = sharedScores(all);
  return {
    ...{ models, tasks, scores },
    cells: summaryCells(scores, tasks),
    totals: equalTotals(scores, tasks, models),
    family: compareSettings(scores, tasks, POLICY_COMPARISONS),
  };
}

/** Picks the scores of items that every setting of their task has with every budget. */
export function sharedScores(scores: readonly ItemScore[]): ItemScore[] {
  return [...Map.groupBy(scores, ({ task }) => task).values()].flatMap((own) => {
    const settings = scoresBySetting(own).map((list) => new Set(list.map(({ item }) => item)));
    return own.filter(({ item }) => settings.every((items) => items.has(item)));
  });
}

/**
 * Writes the tables that the comments of a document ask for.
 *
 * @param document Text of the document.
 * @param read Reads the summary of an evaluation by the name of its folder, as `sharedEvaluation` gives it.
 * @returns The same with its tables.
 * @throws {DataError} If a table has no end, or its task no answers.
 */
export async function withScoreTables(
  document: string,
  read: (name: string) => Promise<ScoredEvaluation>,
): Promise<string> {
  const parts: string[] = [];
  let from = 0;
  for (const { 0: begin, 1: name, 2: kind, 3: task, 4: under, index } of document.matchAll(BEGIN)) {
    const end = document.indexOf(END, index);
    const next = document.indexOf("<!-- Written by", index + 1);
    if (end < 0 || next >= 0 && next < end) {
      throw new DataError(
        `Cannot write a table of scores: ${END} must follow ${begin}: current one is missing`,
      );
    }
    const found = new TaskScores(await read(name!), { task: task!, settings: under?.split(", ") });
    const table = {
      scores: () => found.byBudget(),
      totals: () => found.byTotal(),
      differences: () => found.differences(),
    }[kind as "scores" | "totals" | "differences"]();
    const lines = [table[0]!, table[0]!.map(() => "---"), ...table.slice(1)];
    parts.push(
      document.slice(from, index),
      [begin, "", ...lines.map((cells) => `| ${cells.join(" | ")} |`), "", END].join("\n"),
    );
    from = end + END.length;
  }
  return parts.join("") + document.slice(from);
}

/** Scores of a task in an evaluation. */
class TaskScores {
  readonly #summary: ScoredEvaluation;
  readonly #task: ScoredEvaluation["tasks"][number];
  readonly #cells: readonly SummaryCell[];
  readonly #settings: readonly string[];

  constructor(
    summary: ScoredEvaluation,
    { task, settings }: { readonly task: string; readonly settings: readonly string[] | undefined },
  ) {
    const cells = summary.cells.filter((cell) => cell.task === task);
    const known = [...new Set([...ORDER, ...cells.map(({ setting }) => setting)])]
      .filter((name) => cells.some(({ setting }) => setting === name));
    const missing = known.length === 0
      ? task
      : settings?.find((setting) => !known.includes(setting));
    if (missing !== undefined) {
      throw new DataError(
        `Cannot write a table of scores: ${missing} must have answers: current number is 0`,
      );
    }
    this.#summary = summary;
    this.#task = summary.tasks.find(({ name }) => name === task)!;
    this.#settings = settings ?? known;
    this.#cells = cells.filter(({ setting }) => this.#settings.includes(setting));
  }

  /** Score, interval and mean length of answers, a column for each budget. */
  byBudget(): string[][] {
    const budgets = compressedBudgets(this.#cells).sort((a, b) => budgetSize(a) - budgetSize(b));
    const rows = this.#settings.map((setting) => [
      labelOf(setting),
      ...budgets.map((budget) => {
        const cell = this.#cell(setting, budget);
        return cell ? `${scoreText(cell)}, ${cell.tokens.toFixed(0)}` : "–";
      }),
    ]);
    return [[this.#title, ...budgets.map(columnText)], ...rows];
  }

  /** Score and what it takes of the full cache, a column for each total; at last which setting is best. */
  byTotal(): string[][] {
    const { family, tasks } = this.#summary.totals;
    const totals = tasks.find(({ task }) => task === this.#task.name);
    if (!totals) {
      throw new DataError(
        `Cannot write a table of totals: lengths of texts of ${this.#task.name} must be known: current ones are not`,
      );
    }
    const columns = totals.best.filter(({ hasWeights }) => !hasWeights);
    const compressed = this.#settings.filter((name) =>
      totals.settings.some(({ setting, cache }) => setting === name && cache.most < 1)
    );
    const rows = compressed.map((setting) => [
      labelOf(setting),
      ...columns.map((total) => {
        const budget = fittingBudget(total, setting);
        if (budget === undefined) return "does not fit";
        const { cache } = totals.settings.find((one) => isOf(one, setting, budget))!;
        return `${scoreText(this.#cell(setting, budget)!)} at ${(100 * cache.mean).toFixed(1)} %`;
      }),
    ]);
    const heads = columns.map(({ share }) => `${+(100 * share).toFixed(2)} % in all`);
    return [
      [`${this.#title}, by all bytes`, ...heads],
      ...rows,
      [`best; p corrected for ${family}`, ...columns.map(bestText)],
    ];
  }

  /** Declared differences with their intervals and corrected p, a column for each budget; bold where they hold. */
  differences(): string[][] {
    const { size, comparisons } = this.#summary.family;
    const own = comparisons.filter(({ task }) => task === this.#task.name);
    const budgets = compressedBudgets(own).sort((a, b) => budgetSize(a) - budgetSize(b));
    const pairs = new Map(
      own.map(({ first, second }) => [`${first} ${second}`, { first, second }]),
    );
    const rows = [...pairs.values()].map(({ first, second }) => [
      `${labelOf(first)} minus ${labelOf(second)}`,
      ...budgets.map((budget) => {
        const found = own.find((one) =>
          one.first === first && one.second === second &&
          budgetText(one.budget) === budgetText(budget)
        );
        return found ? differenceText(found) : "–";
      }),
    ]);
    const title = `${this.#title}: difference in points; p corrected for ${size}`;
    return [[title, ...budgets.map(columnText)], ...rows];
  }

  /** Name of the task, and how many items it is. */
  get #title(): string {
    return `${this.#task.title}, ${Math.min(...this.#cells.map(({ items }) => items))} items`;
  }

  #cell(setting: string, budget: CacheBudget): SummaryCell | undefined {
    return this.#cells.find((cell) => isOf(cell, setting, budget));
  }
}

function isOf(
  one: Pick<SettingTotal, "setting" | "budget">,
  setting: string,
  budget: CacheBudget,
): boolean {
  if (one.setting !== setting) return false;
  return isRunOnce(setting) || budgetText(one.budget) === budgetText(budget);
}

/** The largest budget with which a setting fits a total. */
function fittingBudget(
  { best, comparisons }: BestOfTotal,
  setting: string,
): CacheBudget | undefined {
  if (best?.setting === setting) return best.budget;
  return comparisons.find(({ other }) => other === setting)?.budget;
}

/** The best setting and those that it cannot be told from; no name where that is all of them. */
function bestText(total: BestOfTotal): string {
  const { best, comparisons } = total;
  if (!best) return "none fits";
  const unclear = toldApart(total, false);
  if (comparisons.length > 0 && unclear.length === comparisons.length) return "none can be told";
  return [best.setting, ...unclear].map(labelOf).join(" or ");
}

function labelOf(setting: string): string {
  return LABELS.get(setting) ?? `\`${setting}\``;
}

function scoreText({ score: { value, low, high } }: SummaryCell): string {
  const percent = (share: number) => (100 * share).toFixed(0);
  return `${percent(value)} % [${percent(low)}, ${percent(high)}]`;
}

function differenceText({ difference, adjusted, outcome }: SettingComparison): string {
  const { value, low, high } = difference;
  const [points, from, to] = [value, low, high].map((share) => Math.round(100 * share) + 0); // no minus zero
  const p = adjusted < 0.001 ? "< 0.001" : adjusted.toPrecision(2);
  const text = `${points} [${from}, ${to}]; ${p}`;
  return outcome === "cannot tell" ? text : `**${text}**`;
}

function columnText(budget: CacheBudget): string {
  return "ratio" in budget ? `${+(100 * budget.ratio).toFixed(2)} %` : `${budget.tokens} tokens`;
}
