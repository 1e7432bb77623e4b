/**
 * Tables, figures and sentences of an evaluation by total bytes: what each setting needs, and which is best for how much.
 *
 * @module
 */

import { budgetText, type CacheBudget } from "../../cache/budget.ts";
import { LEVEL } from "../../evaluation/comparisons.ts";
import type { BestOfTotal, EqualTotals, TaskTotals } from "../../evaluation/equal_totals.ts";
import type { EvaluatedModels } from "../../evaluation/evaluated_models.ts";
import type { EvaluatedTask } from "../../evaluation/folder.ts";
import { paidMemory } from "../../evaluation/memory.ts";
import { isRunOnce } from "../../evaluation/settings.ts";
import type { SummaryCell } from "../../evaluation/summary.ts";
import type { Figure, Measured, ResultTable } from "../experiment.ts";
import { countedText } from "../decoded/memory_tables.ts";
import { lineOf, percent, tableOf } from "../result.ts";
import { MIB } from "./evaluation_tables.ts";

/** A task with what is known of it by total bytes, and its means. */
export interface TotalledTask {
  /** The task. */
  readonly task: EvaluatedTask;
  /** Its settings by total bytes. */
  readonly totals: TaskTotals;
  /** Its means. */
  readonly cells: readonly SummaryCell[];
}

/** Tasks whose totals are known. */
export function totalledTasks(
  tasks: readonly EvaluatedTask[],
  { totals, cells }: { readonly totals: EqualTotals; readonly cells: readonly SummaryCell[] },
): TotalledTask[] {
  return tasks.flatMap((task) => {
    const found = totals.tasks.find((one) => one.task === task.name);
    if (found === undefined) return [];
    return [{ task, totals: found, cells: cells.filter((cell) => cell.task === task.name) }];
  });
}

/** Scores by total bytes of one answer, and the best setting for each total. */
export function totalTables(
  { task: { name, title }, totals, cells }: TotalledTask,
  models: EvaluatedModels,
): ResultTable[] {
  const rows = totals.settings.map(({ setting, budget, cache, withWeights }) => {
    const cell = cellOf(cells, { setting, budget });
    const { host } = paidMemory(cell, models);
    return {
      "policy": setting,
      "budget": budgetText(budget),
      "in all (%)": 100 * cache.mean,
      "at most (%)": 100 * cache.most,
      "with the small model's weights (%)": 100 * withWeights.mean,
      "in all (MiB)": paidMemory(cell, models).cache / MIB,
      "on the host (MiB)": host === null ? null : host / MIB,
      "score (%)": percent(cell.score as Measured),
      "items": cell.items,
    };
  });
  const best = countedTotals(totals).map((total) => {
    const { best } = total;
    const others = (isTold: boolean) => listed(toldApart(total, isTold));
    return {
      ...totalColumns(total),
      "best": best?.setting ?? "none fits",
      "budget": best ? budgetText(best.budget) : null,
      "score (%)": best && percent(cellOf(cells, best).score as Measured),
      "better than": others(true),
      "cannot be told from": others(false),
      "do not fit": listed(total.tooLarge),
    };
  });
  const { fullBytes, weightsInCaches } = totals;
  const weights = weightsInCaches === undefined
    ? ""
    : `, the small model's weights as much as ${weightsInCaches.toFixed(1)} of them`;
  const full = `a full cache takes ${(fullBytes / MIB).toFixed(1)} MiB${weights}`;
  return [
    tableOf(`${name}_totals`, `${title}: score by total bytes of one answer; ${full}`, rows),
    tableOf(`${name}_best_of_total`, `${title}: best setting that fits a total`, best),
  ];
}

/** The best setting of each total against all others, p corrected over all tasks; no table without comparisons. */
export function bestComparisonTables(
  tasks: readonly TotalledTask[],
  family: number,
): ResultTable[] {
  const rows = tasks.flatMap(({ task: { title }, totals }) =>
    countedTotals(totals).flatMap((total) =>
      total.comparisons.map((one) => ({
        "task": title,
        ...totalColumns(total),
        "comparison": `${total.best!.setting} minus ${one.other}`,
        "budgets": `${budgetText(total.best!.budget)} and ${budgetText(one.budget)}`,
        "difference (%)": percent(one.difference as Measured),
        "items": one.difference.n,
        "won": one.wins,
        "lost": one.losses,
        "test": one.test,
        "p": one.p,
        "p, corrected": one.adjusted,
        "outcome": one.adjusted <= LEVEL ? "best is better" : "cannot tell",
      }))
    )
  );
  if (rows.length === 0) return [];
  const corrected = `p corrected by Holm for all ${family} pairs of settings that fit one total`;
  return [
    tableOf("best_of_totals", `Best setting of a total against the others; ${corrected}`, rows),
  ];
}

/** One sentence for each task and total, without the small model's weights. */
export function totalNotes(tasks: readonly TotalledTask[]): string[] {
  return tasks.flatMap(({ task: { title }, totals }) =>
    totals.best.filter(({ hasWeights }) => !hasWeights).map((total) => {
      const place = `${title} at ${shareText(total.share)} of the full cache in all`;
      const { best } = total;
      if (!best) return `${place}: nothing fits.`;
      const name = `${best.setting} (budget ${budgetText(best.budget)})`;
      if (total.comparisons.length === 0) return `${place}: only ${name} fits.`;
      const unclear = toldApart(total, false);
      if (unclear.length === total.comparisons.length) {
        return `${place}: no best policy can be told; ${name} scores highest.`;
      }
      const rest = unclear.length === 0 ? "" : `, but cannot be told from ${unclear.join(", ")}`;
      return `${place}: ${name} scores highest, above ${toldApart(total, true).join(", ")}${rest}.`;
    })
  );
}

/** Scores against total bytes, without and with the small model's weights; none if nothing is compressed. */
export function totalFigures({ task, totals, cells }: TotalledTask): Figure[] {
  const { name, title, items } = task;
  if (cells.every(({ setting }) => isRunOnce(setting))) return [];
  const counts = totals.best.some(({ hasWeights }) => hasWeights) ? [false, true] : [false];
  return counts.map((hasWeights): Figure => ({
    name: hasWeights ? `${name}_total_with_weights` : `${name}_total`,
    title: `${title} by total bytes: ${countedText(hasWeights)}`,
    kind: "line",
    xTitle: `${countedText(hasWeights)} (% of the full cache)`,
    yTitle: "score (%)",
    isXLog: true,
    series: [...Map.groupBy(cells, ({ setting }) => setting)].map(([setting, own]) => {
      const points = totals.settings.filter((one) => one.setting === setting);
      const shares = points.map(({ cache, withWeights }) =>
        100 * (hasWeights ? withWeights : cache).mean
      );
      return lineOf(setting, shares, points.map((point) => cellOf(own, point).score), 100);
    }),
    paper: [],
    contexts: items,
  }));
}

/** A total, and words for what it counts. */
interface CountedTotal extends BestOfTotal {
  readonly counted: string;
}

/** Totals with their counts; one for both where weights change nothing that fits. */
function countedTotals({ best }: TaskTotals): CountedTotal[] {
  return [...Map.groupBy(best, ({ share }) => share).values()].flatMap((counts) => {
    const [plain, weighted] = counts as [BestOfTotal, BestOfTotal?];
    const places = ({ best, comparisons }: BestOfTotal) =>
      JSON.stringify([best, comparisons.map(({ other, budget }) => [other, budget])]);
    if (weighted && places(weighted) === places(plain)) {
      return [{ ...plain, counted: `${countedText(false)}, with or without weights` }];
    }
    return counts.map((total) => ({ ...total, counted: countedText(total.hasWeights) }));
  });
}

function totalColumns({ share, counted }: CountedTotal) {
  return { "total": shareText(share), "counted": counted };
}

function shareText(share: number): string {
  return `${+(100 * share).toFixed(2)} %`;
}

/** Settings that the best one can be told from, or cannot. */
export function toldApart({ comparisons }: BestOfTotal, isTold: boolean): string[] {
  return comparisons.filter(({ adjusted }) => (adjusted <= LEVEL) === isTold)
    .map(({ other }) => other);
}

function listed(names: readonly string[]): string {
  return names.join(", ") || "–";
}

function cellOf(
  cells: readonly SummaryCell[],
  { setting, budget }: { readonly setting: string; readonly budget: CacheBudget },
): SummaryCell {
  const text = budgetText(budget);
  return cells.find((cell) => cell.setting === setting && budgetText(cell.budget) === text)!;
}
