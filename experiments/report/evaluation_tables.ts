/**
 * Tables of an evaluation: scores, comparisons and memory.
 *
 * @module
 */

import { budgetText } from "../../cache/budget.ts";
import {
  type ComparisonFamily,
  lengthDifference,
  pairedItems,
  scoreDifference,
} from "../../evaluation/comparisons.ts";
import type { EvaluatedModels } from "../../evaluation/evaluated_models.ts";
import type { EvaluatedTask } from "../../evaluation/folder.ts";
import { paidMemory } from "../../evaluation/memory.ts";
import type { ItemScore, SummaryCell } from "../../evaluation/summary.ts";
import type { Measured, ResultTable } from "../experiment.ts";
import { percent, tableOf } from "../result.ts";

/** Bytes of a mebibyte. */
export const MIB = 2 ** 20;

/**
 * Scores of a task, each with its paired difference to the full cache, the length of its answers and how they ended.
 *
 * @param own Cells of the task.
 * @param scores Scores of the task.
 */
export function scoreTable(
  { name, title, metric, average }: EvaluatedTask,
  own: readonly SummaryCell[],
  { scores, models }: {
    readonly scores: readonly ItemScore[];
    readonly models: EvaluatedModels;
  },
): ResultTable {
  const rows = own.map((cell) => {
    const { setting, budget } = cell;
    const pairs = pairedItems(scores, { first: setting, second: "full" }, budget);
    return {
      "policy": setting,
      "budget": budgetText(budget),
      "score (%)": percent(cell.score),
      "minus full (%)": percent(scoreDifference(pairs, average)),
      "items": cell.items,
      "seeds": cell.seeds,
      "tokens": cell.tokens,
      "tokens minus full": lengthDifference(pairs),
      "ended by itself (%)": 100 * cell.ended,
      "cut off (%)": 100 * cell.cut,
      "cache (MiB)": paidMemory(cell, models).cache / MIB,
      "seconds": cell.seconds,
    };
  });
  return tableOf(name, `${title}: ${metric}`, rows);
}

/** Bytes of a task's settings by phase, with and without the small model. */
export function memoryTable(
  { name, title }: EvaluatedTask,
  own: readonly SummaryCell[],
  models: EvaluatedModels,
): ResultTable {
  const full = own.find(({ setting }) => setting === "full");
  const rows = own.map((cell) => {
    const memory = paidMemory(cell, models);
    const saved = (full ? paidMemory(full, models).cache : NaN) - memory.cache;
    const isPaid = memory.smallWeights > 0 && saved > 0;
    return {
      "policy": cell.setting,
      "budget": budgetText(cell.budget),
      "cache (MiB)": memory.cache / MIB,
      "without small model (MiB)": memory.cacheWithoutSmall / MIB,
      "device, prompt (MiB)": memory.prefill / MIB,
      "without small model, prompt (MiB)": memory.prefillWithoutSmall / MIB,
      "device, decoding (MiB)": memory.decode / MIB,
      "without small model, decoding (MiB)": memory.decodeWithoutSmall / MIB,
      "host (MiB)": memory.host === null ? null : memory.host / MIB,
      "answers at a time that pay for the small model": memory.smallWeights === 0
        ? "0"
        : isPaid
        ? String(Math.ceil(memory.smallWeights / saved))
        : "never",
    };
  });
  const heading =
    "bytes for one answer, weights included where a device is named; means over items";
  return tableOf(`${name}_memory`, `${title}: ${heading}`, rows);
}

/** Declared comparisons; no table if none could be made. */
export function comparisonTables(
  { size, comparisons }: ComparisonFamily,
  tasks: readonly EvaluatedTask[],
): ResultTable[] {
  const rows = comparisons.map((comparison) => ({
    "task": tasks.find(({ name }) => name === comparison.task)?.title ?? comparison.task,
    "budget": budgetText(comparison.budget),
    "comparison": `${comparison.first} minus ${comparison.second}`,
    "difference (%)": percent(comparison.difference as Measured),
    "items": comparison.difference.n,
    "won": comparison.wins,
    "lost": comparison.losses,
    "test": comparison.test,
    "p": comparison.p,
    "p, corrected": comparison.adjusted,
    "declared": comparison.expected,
    "outcome": comparison.outcome,
  }));
  if (rows.length === 0) return [];
  const title =
    `Declared comparisons, ${rows.length} made of a family of ${size}; p corrected by Holm`;
  return [tableOf("comparisons", title, rows)];
}
