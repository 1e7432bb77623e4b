/**
 * Fig. 1d: the large model's own view against the helper's, at equal cache and without marginal tokens.
 *
 * @module
 */

import { bootstrapInterval } from "../core/bootstrap.ts";
import { mean } from "../core/stats.ts";
import { claimOf } from "./claims.ts";
import type { Experiment, ExperimentResult, Figure, SummaryInput } from "./experiment.ts";
import {
  cellsOf,
  pointCells,
  type PolicyCell,
  policyUnits,
  variantPoints,
} from "./decoded/policy_runs.ts";
import { meanDifference, meanOfTexts, measureOf, steppedCells } from "./decoded/policy_stats.ts";
import { qualityTable } from "./decoded/policy_tables.ts";
import { policyBatches } from "./decoded/policy_texts.ts";
import { defined, seeded } from "./similarity.ts";

/** Numbers of this experiment. */
export type Fig1dKey = "tasksBetter" | "sameGain" | "klGain";

const BUDGET = 0.1;
const NAME = "fig1d";

/** Fig. 1d. */
export const fig1d: Experiment<Fig1dKey> = {
  name: NAME,
  module: import.meta.url,
  title: "Whose view of the tokens",
  question: "At 10 %, is the helper's choice of tokens better than the large model's own?",
  source: "Fig. 1d",
  version: 1,
  usesPolicies: true,
  inputs: ["large", "small", "gsm8k", "bbh", "wikitext2", "microworld"],
  claims: {
    tasksBetter: claimOf("C03", {
      kind: "trend",
      paper: 100,
      unit: "%",
      statement: "tasks on which the helper's choice agrees more often with the full cache",
      expected: { above: 50 },
      note: "The paper's six tasks are not readable; ours are those of the pair at hand.",
    }),
    sameGain: claimOf("C03", {
      kind: "trend",
      paper: null,
      unit: "%",
      statement: "steps with the full cache's choice, helper's view minus own view",
      expected: { above: 0 },
    }),
    klGain: claimOf("C03", {
      kind: "trend",
      paper: null,
      unit: "nats",
      statement: "divergence, own view minus helper's view",
      expected: { above: 0 },
    }),
  },
  async plan(context) {
    const points = variantPoints(["withoutHelper", "withoutMarginal"], [BUDGET]);
    return policyUnits(await policyBatches(context), points);
  },
  summarise,
};

function summarise(input: SummaryInput): ExperimentResult<Fig1dKey> {
  const points = pointCells(input.units);
  const options = { seed: input.seed, label: NAME };
  const own = steppedCells(cellsOf(points, "withoutHelper", BUDGET));
  const guided = steppedCells(cellsOf(points, "withoutMarginal", BUDGET));
  const percent = guided.map((cell) => ({ ...cell, same: cell.same.map((same) => 100 * same) }));
  const ownPercent = own.map((cell) => ({ ...cell, same: cell.same.map((same) => 100 * same) }));
  return {
    values: defined({
      tasksBetter: tasksBetter(own, guided, options),
      sameGain: meanDifference(percent, ownPercent, { ...options, measure: "same" }),
      klGain: meanDifference(own, guided, { ...options, measure: "kl" }),
    }),
    tables: [qualityTable(points, input, {
      ...options,
      name: "fig1d_views",
      title: "Own view (dropped for good) and helper's view, equal cache, no marginal tokens",
    })],
    figures: [taskFigure([["own view", own], ["helper's view", guided]], options)],
    notes: [
      'The own view is the ablation "without both": the sizes of SmallKV without marginal tokens, ranked by the large model itself.',
    ],
  };
}

function tasksBetter(
  own: readonly PolicyCell[],
  guided: readonly PolicyCell[],
  options: { readonly seed: number; readonly label: string },
) {
  if (own.length === 0) return undefined;
  const statistic = (texts: Uint32Array) => {
    const gains = new Map<string, number>();
    for (const text of texts) {
      const { group } = own[text]!;
      const gain = measureOf(guided[text]!, "same") - measureOf(own[text]!, "same");
      gains.set(group, (gains.get(group) ?? 0) + gain);
    }
    return 100 * mean([...gains.values()].map((gain) => gain > 0 ? 1 : 0));
  };
  return bootstrapInterval(own.length, statistic, { ...seeded(options), method: "percentile" });
}

function taskFigure(
  views: readonly (readonly [label: string, cells: readonly PolicyCell[]])[],
  options: { readonly seed: number; readonly label: string },
): Figure {
  const tasks = [...new Set(views.flatMap(([, cells]) => cells.map(({ group }) => group)))];
  const series = views.map(([label, cells]) => {
    const intervals = tasks.map((task) =>
      meanOfTexts(cells.filter(({ group }) => group === task), "same", options)!
    );
    return {
      label,
      x: tasks,
      y: intervals.map(({ value }) => 100 * value),
      low: intervals.map(({ low }) => 100 * low),
      high: intervals.map(({ high }) => 100 * high),
    };
  });
  return {
    name: "fig1d_tasks",
    title: "Own view and helper's view at 10 %",
    kind: "bar",
    xTitle: "task",
    yTitle: "steps with the full cache's choice (%)",
    series,
    paper: [],
  };
}
