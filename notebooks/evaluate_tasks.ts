/**
 * Tasks answered under policies in a cell, and tables of what was written.
 *
 * @module
 */

import { budgetText } from "../cache/budget.ts";
import { RequirementError } from "../core/check.ts";
import { TASKS } from "../data/tasks/mod.ts";
import type { AnswerRow } from "../evaluation/answer_row.ts";
import { evaluate, type EvaluateOptions, findTask } from "../evaluation/evaluate.ts";
import { evaluatedModels } from "../evaluation/evaluated_models.ts";
import { summarizeEvaluation } from "../evaluation/folder.ts";
import { settingName } from "../evaluation/settings.ts";
import type { ItemScore } from "../evaluation/summary.ts";
import { comparedEvaluation, evaluationResult } from "../experiments/report/evaluation_outputs.ts";
import { hostEnvironment } from "../experiments/runner/engine.ts";
import type { ReportedResult } from "../experiments/runner/record.ts";
import type { Lab } from "./lab.ts";
import { withProgress } from "./progress_bar.ts";
import type { Table } from "./table.ts";

/** What an evaluation found. */
export interface EvaluatedTasks {
  /** Answers with their grades. */
  readonly rows: readonly AnswerRow[];
  /** One score for each item, setting and budget. */
  readonly scores: readonly ItemScore[];
  /** Tables and figures. */
  readonly result: ReportedResult;
}

/**
 * Evaluates the pair of a lab, with a progress bar.
 *
 * @param lab The pair.
 * @param options Tasks, policies, budgets, items; see `evaluate`.
 * @returns Answers, scores, tables, figures.
 * @throws {RequirementError} If a task, policy or budget is not known.
 * @throws {DataError} If a dataset is missing.
 */
export async function evaluateTasks(lab: Lab, options: EvaluateOptions): Promise<EvaluatedTasks> {
  return await withProgress("Evaluate", async (progress) => {
    const rows: AnswerRow[] = [];
    const answers = evaluate(lab, {
      ...options,
      onPlan: ({ questions, settings }) => progress.extend(questions.length * settings.length),
    });
    for await (const row of answers) {
      rows.push(row);
      progress.describe(row.task, row.item);
      progress.advance();
    }
    const own = options.tasks.map((task) => typeof task === "string" ? findTask(task) : task);
    const found = summarizeEvaluation(rows, {
      models: evaluatedModels(lab),
      tasks: [...own, ...TASKS],
      code: rows[0]?.code ?? "",
      ...(options.acceptCode && { accept: options.acceptCode }),
    });
    const result = evaluationResult(comparedEvaluation(found), {
      environment: hostEnvironment(),
      command: "deno task evaluate",
      seed: options.seed ?? 0,
    });
    return { rows, scores: found.scores, result };
  });
}

/**
 * Lists what was written for an item, a line for each setting.
 *
 * @param rows Answers.
 * @param item Id of the item.
 * @returns A table of policies, budgets, answers and scores.
 * @throws {RequirementError} If there is no answer to such an item.
 */
export function answerTable(rows: readonly AnswerRow[], item: string): Table {
  const own = rows.filter((row) => row.item === item && (row.options.seed ?? 1) === 1);
  if (own.length === 0) {
    throw new RequirementError({
      action: "show answers",
      requirement: "the item must have been answered",
      current: item,
    });
  }
  return {
    title: `${own[0]!.task}, item ${item}`,
    columns: ["policy", "budget", "answer", "score"],
    rows: own.map((row) => [settingName(row), budgetText(row.budget), ...answerCells(row)]).sort(),
  };
}

function answerCells({ answers, grade }: AnswerRow): [string, number | null] {
  return [answers.map(({ text }) => text.trim()).join(" / "), grade?.score ?? null];
}

/**
 * Averages the scores of a setting.
 *
 * @param scores Scores of items.
 * @param setting Name of the setting.
 * @param ratio Share of the cache; any budget if left out.
 * @returns Mean score, from 0 to 1; NaN without items.
 */
export function meanScore(scores: readonly ItemScore[], setting: string, ratio?: number): number {
  const own = scores.filter(({ setting: name, budget }) =>
    name === setting && (ratio === undefined || "ratio" in budget && budget.ratio === ratio)
  );
  return own.reduce((sum, { score }) => sum + score, 0) / own.length;
}
