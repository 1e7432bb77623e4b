/**
 * Tables, figures and the page of an evaluation.
 *
 * @module
 */

import { counted } from "../../core/counted.ts";
import { join } from "node:path";
import { writeFileAtomic } from "../../core/atomic_file.ts";
import type { ProgressView } from "../../core/progress.ts";
import { compareSettings, type ComparisonFamily } from "../../evaluation/comparisons.ts";
import type { EvaluationSummary } from "../../evaluation/folder.ts";
import type { ItemScore } from "../../evaluation/summary.ts";
import { POLICY_COMPARISONS } from "../claims.ts";
import type { Environment, ReportedResult } from "../runner/record.ts";
import { depthFigures, scoreFigures } from "./evaluation_figures.ts";
import { comparisonTables, memoryTable, scoreTable } from "./evaluation_tables.ts";
import {
  bestComparisonTables,
  totalFigures,
  totalledTasks,
  totalNotes,
  totalTables,
} from "./evaluation_totals.ts";
import { writeOutputs } from "./outputs.ts";

/** What the outputs say besides the scores. */
export interface EvaluationOutputOptions {
  /** Versions and system of the command. */
  readonly environment: Pick<Environment, "versions" | "system">;
  /** Command that repeats it. */
  readonly command: string;
  /** Seed of the items. */
  readonly seed: number;
}

/** File of the comparisons. */
export const COMPARISONS_FILE = "comparisons.json";

/** An evaluation with its items and its comparisons. */
export interface ComparedEvaluation {
  /** Means. */
  readonly summary: EvaluationSummary;
  /** Scores item by item. */
  readonly scores: readonly ItemScore[];
  /** Declared comparisons. */
  readonly family: ComparisonFamily;
}

/**
 * Makes the declared comparisons of an evaluation.
 *
 * @param found Means and scores.
 */
export function comparedEvaluation(found: Omit<ComparedEvaluation, "family">): ComparedEvaluation {
  const { summary, scores } = found;
  return { ...found, family: compareSettings(scores, summary.tasks, POLICY_COMPARISONS) };
}

/**
 * Turns the summary of an evaluation into what reports show.
 *
 * @returns Tables and figures of each task, and notes.
 */
export function evaluationResult(
  found: ComparedEvaluation,
  { environment, command, seed }: EvaluationOutputOptions,
): ReportedResult {
  const { summary, scores, family } = found;
  const { models, tasks, cells, counted } = summary;
  const { large, small } = models;
  const totalled = totalledTasks(tasks, summary);
  const parts = tasks.filter(({ items }) => items > 0).map((task) => {
    const own = cells.filter((cell) => cell.task === task.name);
    const items = scores.filter((score) => score.task === task.name);
    const known = totalled.filter((one) => one.task === task);
    return {
      tables: [
        scoreTable(task, own, { scores: items, models }),
        ...known.flatMap((one) => totalTables(one, models)),
        memoryTable(task, own, models),
      ],
      figures: [
        ...scoreFigures(task, own),
        ...known.flatMap(totalFigures),
        ...depthFigures(task, items),
      ],
    };
  });
  return {
    name: "evaluation",
    title: "Evaluation",
    question: "Which answers survive a compressed cache, by task, policy and budget?",
    source: tasks.map(({ title }) => title).join(", "),
    seed,
    models: { large, ...(small && { small }) },
    environment: { ...environment, ...devicesOf(summary), isSoftware: false },
    seconds: cells.reduce((sum, { seconds, items, seeds }) => sum + seconds * items * seeds, 0),
    units: Object.values(counted).reduce((sum, count) => sum + count, 0),
    command,
    claims: [],
    tables: [
      ...parts.flatMap(({ tables }) => tables),
      ...comparisonTables(family, tasks),
      ...bestComparisonTables(totalled, summary.totals.family),
    ],
    figures: parts.flatMap(({ figures }) => figures),
    notes: evaluationNotes(found),
  };
}

function devicesOf({ devices }: EvaluationSummary) {
  const joined = (words: readonly string[]) => [...new Set(words)].join("; ") || "nothing";
  const drivers = devices.flatMap(({ driver }) => driver ?? []);
  return {
    device: joined(devices.map(({ device }) => device)),
    adapter: joined(devices.map(({ adapter }) => adapter)),
    ...(drivers.length > 0 && { driver: joined(drivers) }),
  };
}

/** Says how many items are left out since they are too long. */
export function leftOutText(items: number): string {
  const verbs = items === 1 ? ["does", "is"] : ["do", "are"];
  return `${counted(items, "item")} ${verbs[0]} not fit the context and ${verbs[1]} left out`;
}

/** Sentences that a reader needs to judge the scores. */
export function evaluationNotes({ summary, family }: ComparedEvaluation): string[] {
  const { tasks, uncounted, devices } = summary;
  const total = (counts: Readonly<Record<string, number>>) =>
    Object.values(counts).reduce((sum, count) => sum + count, 0);
  const versions = Object.entries(summary.counted).map(([hash, count]) =>
    `${hash.slice(0, 12)} (${count})`
  );
  return [
    "Intervals are Wilson's where items are right or wrong, and come from resampling items within groups otherwise; seeds are averaged first.",
    ...tasks.filter(({ skipped }) => skipped > 0).map(({ title, skipped }) =>
      `${title}: ${leftOutText(skipped)}.`
    ),
    `Versions of the code, and answers: ${versions.join(", ") || "none"}.`,
    ...total(uncounted) > 0
      ? [
        `${counted(total(uncounted), "answer")} of other versions of the code ${
          total(uncounted) === 1 ? "is" : "are"
        } kept and not counted.`,
      ]
      : [],
    ...devices.length > 1
      ? [`Computed on ${devices.map((place) => Object.values(place).join(", ")).join("; ")}.`]
      : [],
    ...familyNotes(family),
    ...totalsNotes(summary),
  ];
}

/** What the declared comparisons tell together. */
function familyNotes({ size, comparisons }: ComparisonFamily): string[] {
  const count = (outcome: string) => comparisons.filter((one) => one.outcome === outcome).length;
  if (comparisons.length === 0) return [];
  return [
    `Comparisons: a family of ${size} was declared for these tasks and budgets, ${comparisons.length} have answers; ` +
    `after Holm's correction at 5 %, ${count("as declared")} are as declared, ` +
    `${count("opposite")} the opposite, and ${count("cannot tell")} cannot be told.`,
  ];
}

/** Which setting is best for which total, and what a total is. */
function totalsNotes(summary: EvaluationSummary): string[] {
  const sentences = totalNotes(totalledTasks(summary.tasks, summary));
  if (sentences.length === 0) return [];
  return [
    "Totals are bytes on the device at the end of an answer, of the large model's full cache of the same text: kept keys and " +
    "values, sketches of keys, sums of values where the rest counts, and the small model's cache. A setting fits if it does " +
    "on every item, and takes part with its largest budget that fits. The host's copy, from where dropped tokens return, is " +
    "in no total; the small model alone needs none of the large model's weights, and no total has those.",
    ...sentences,
  ];
}

/**
 * Writes `comparisons.json`, `evaluation.md`, `figures/` and `report.html`.
 *
 * @param folder Folder of the evaluation.
 * @param view Shows progress.
 * @returns Sentences for people, and where the report lies.
 */
export async function writeEvaluationOutputs(
  folder: string,
  found: ComparedEvaluation,
  options: EvaluationOutputOptions & { readonly view: ProgressView },
): Promise<{ readonly notes: readonly string[]; readonly report?: string }> {
  const { view, ...about } = options;
  const text = JSON.stringify({ declared: POLICY_COMPARISONS, ...found.family }, null, 2);
  await writeFileAtomic(join(folder, COMPARISONS_FILE), `${text}\n`);
  const result = evaluationResult(found, about);
  return await writeOutputs(folder, [result], {
    view,
    order: [result.name],
    heading: {
      title: "Tasks under compressed caches",
      text: "Answers of every item under every policy and budget, graded as each benchmark does. " +
        "Scores are means with 95 % intervals over items; bytes are of keys and values.",
    },
  });
}
