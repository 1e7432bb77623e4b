/**
 * What `evaluate` prints at its end.
 *
 * @module
 */

import { budgetText } from "../cache/budget.ts";
import type { SettingComparison } from "../evaluation/comparisons.ts";
import { paidMemory } from "../evaluation/memory.ts";
import {
  type ComparedEvaluation,
  evaluationNotes,
} from "../experiments/report/evaluation_outputs.ts";
import { alignedRows } from "./evaluate_view.ts";

const HEADINGS = ["budget", "score %", "95 %", "items", "tokens", "cut off %", "cache MiB"];

/**
 * Writes the scores of each task, the comparisons that tell something, and notes.
 *
 * @returns Lines, the last one ended.
 */
export function evaluationText(found: ComparedEvaluation): string {
  const { summary, family } = found;
  const tables = summary.tasks.filter(({ items }) => items > 0).map(({ name, title, metric }) => {
    const rows = summary.cells.filter(({ task }) => task === name).map((cell) => {
      const { setting, budget, score, items, tokens, cut } = cell;
      const percent = (value: number) => (100 * value).toFixed(1);
      return [
        setting,
        budgetText(budget),
        percent(score.value),
        `${percent(score.low)} to ${percent(score.high)}`,
        String(items),
        tokens.toFixed(1),
        percent(cut),
        (paidMemory(cell, summary.models).cache / 2 ** 20).toFixed(2),
      ];
    });
    return [`${title}: ${metric}`, ...alignedRows([["policy", ...HEADINGS], ...rows])].join("\n");
  });
  const told = family.comparisons.filter(({ outcome }) => outcome !== "cannot tell");
  const compared = told.length === 0 ? [] : [comparisonText(told)];
  return `${[...tables, ...compared, evaluationNotes(found).join("\n")].join("\n\n")}\n`;
}

/** Comparisons that tell something. */
function comparisonText(told: readonly SettingComparison[]): string {
  const headings = ["Difference", "task", "budget", "points", "95 %", "p corrected", "outcome"];
  const rows = told.map((comparison) => {
    const { task, first, second, budget, difference, adjusted, outcome } = comparison;
    const percent = (value: number) => (100 * value).toFixed(1);
    return [
      `${first} minus ${second}`,
      task,
      budgetText(budget),
      percent(difference.value),
      `${percent(difference.low)} to ${percent(difference.high)}`,
      adjusted.toPrecision(2),
      outcome,
    ];
  });
  return alignedRows([headings, ...rows]).join("\n");
}
