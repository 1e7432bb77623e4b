/**
 * The tasks of the embedded pair's world under every policy and budget: whole answers and divergence.
 *
 * @module
 */

import { meanInterval } from "../core/bootstrap.ts";
import { mean } from "../core/stats.ts";
import { claimOf } from "./claims.ts";
import type { Experiment, ExperimentResult, ResultTable, SummaryInput } from "./experiment.ts";
import {
  cellsOf,
  type PointCells,
  pointCells,
  policyUnits,
  variantPoints,
} from "./decoded/policy_runs.ts";
import {
  meanDifference,
  meanOfTexts,
  steppedCells,
  wilsonInterval,
} from "./decoded/policy_stats.ts";
import { budgetFigure, qualityTable, VARIANT_NAMES } from "./decoded/policy_tables.ts";
import { policyBatches } from "./decoded/policy_texts.ts";
import type { VariantKey } from "./decoded/policy_variants.ts";
import { defined, seeded } from "./similarity.ts";

/** Numbers of this experiment. */
export type MicroworldTasksKey = "smallkvAhead" | "marginalGain" | "queryAwareExact";

/** Variants of the policy table. */
export const WORLD_VARIANTS = [
  "full",
  "h2o",
  "pyramid",
  "smallkv",
  "withoutMarginal",
  "queryAware",
] as const satisfies readonly VariantKey[];

/** Budgets of the policy table. */
export const WORLD_BUDGETS = [0.05, 0.1, 0.2, 0.3, 0.5];

/** Tasks of several steps on which the recipe of the pair saw the helper's guidance work. */
const GUIDED_TASKS = ["roll", "route", "sums", "qa"];

/** Items of each task at scale `small`: so many that SmallKV and PyramidInfer at 20 % can be told apart. */
const SMALL_ITEMS = 64;

const NAME = "microworld_tasks";

/** The policy table of the embedded pair. */
export const microworldTasks: Experiment<MicroworldTasksKey> = {
  name: NAME,
  module: import.meta.url,
  title: "Recall tasks of the embedded pair",
  question: "Which answers of the embedded pair survive a compressed cache, by policy and budget?",
  source: "no counterpart; stands in for Fig. 5 offline",
  version: 2,
  usesPolicies: true,
  inputs: ["large", "small", "microworld"],
  claims: {
    smallkvAhead: claimOf("C64", {
      kind: "trend",
      paper: null,
      statement: "exact answers of SmallKV minus H2O at 30 % on roll, route, sums and qa",
      expected: { above: 0 },
    }),
    marginalGain: claimOf("C29", {
      kind: "trend",
      paper: null,
      statement: "exact answers with minus without marginal tokens at 30 %, all tasks",
      expected: { above: 0 },
    }),
    queryAwareExact: claimOf("C64", {
      kind: "absolute",
      paper: null,
      statement: "exact answers of query-aware SmallKV at 10 %, mean over tasks",
      note: "No counterpart in the paper: shown, not judged.",
    }),
  },
  async plan(context) {
    if (!context.isDefaultPair) return [];
    const items = context.scale === "small" ? { items: SMALL_ITEMS } : {};
    const batches = await policyBatches(context, items);
    return policyUnits(batches, variantPoints(WORLD_VARIANTS, WORLD_BUDGETS));
  },
  summarise,
};

function summarise(input: SummaryInput): ExperimentResult<MicroworldTasksKey> {
  const points = pointCells(input.units);
  if (points.length === 0) {
    const notes = ["Only the embedded pair knows this world."];
    return { values: {}, tables: [], figures: [], notes };
  }
  const options = { seed: input.seed, label: NAME };
  const guided = (key: VariantKey) =>
    cellsOf(points, key, 0.3).filter(({ group }) => GUIDED_TASKS.includes(group));
  const queryAware = steppedCells(cellsOf(points, "queryAware", 0.1));
  const exact = { ...options, measure: "exact" } as const;
  return {
    values: defined({
      smallkvAhead: meanDifference(guided("smallkv"), guided("h2o"), exact),
      marginalGain: meanDifference(
        cellsOf(points, "smallkv", 0.3),
        cellsOf(points, "withoutMarginal", 0.3),
        exact,
      ),
      queryAwareExact: meanInterval(queryAware.map((cell) => cell.exact), seeded(options)),
    }),
    tables: [
      qualityTable(points, input, {
        ...options,
        name: "microworld_policies",
        title: "Policies of the embedded pair, mean over all tasks",
      }),
      taskTable(points, input),
    ],
    figures: figures(points, input),
    notes: [
      "An answer is exact if greedy decoding would write all of it, the end token included.",
      "Divergence and agreement leave out the first token of an answer, which the exact prompt predicts.",
      "Intervals of exact answers are Wilson's; the others come from resampling items.",
    ],
  };
}

/** Every task, budget and policy. */
function taskTable(points: readonly PointCells[], input: SummaryInput): ResultTable {
  const tasks = [...new Set(points[0]!.cells.map(({ group }) => group))];
  const options = { seed: input.seed, label: NAME };
  const rows = tasks.flatMap((task) =>
    points.flatMap(({ key, ratio, cells }) => {
      const own = steppedCells(cells).filter(({ group }) => group === task);
      if (own.length === 0) return [];
      const exact = wilsonInterval(own.filter((cell) => cell.exact === 1).length, own.length);
      const kl = meanOfTexts(own, "kl", options)!;
      const same = mean(own.map((cell) => mean(cell.same)));
      const percent = [exact.value, exact.low, exact.high, same].map((share) => 100 * share);
      const name = VARIANT_NAMES[key]!.label;
      return [[task, 100 * ratio, name, ...percent, kl.value, kl.low, kl.high, own.length]];
    })
  );
  return {
    name: "microworld_tasks",
    title: "Every task, budget and policy",
    columns: [
      "task",
      "budget (%)",
      "policy",
      "exact (%)",
      "low",
      "high",
      "same choice (%)",
      "KL (nats)",
      "low",
      "high",
      "items",
    ],
    rows,
  };
}

function figures(points: readonly PointCells[], input: SummaryInput) {
  const options = { seed: input.seed, label: NAME };
  const tasks = [...new Set(points[0]!.cells.map(({ group }) => group))];
  return [
    budgetFigure(points, "exact", {
      ...options,
      name: "microworld_exact",
      title: "Exact answers, all tasks",
    }),
    budgetFigure(points, "kl", {
      ...options,
      name: "microworld_kl",
      title: "Divergence from the full cache, all tasks",
    }),
    ...tasks.map((group) =>
      budgetFigure(points, "exact", {
        ...options,
        group,
        name: `microworld_exact_${group}`,
        title: `Exact answers, task ${group}`,
      })
    ),
  ];
}
