/**
 * The tasks of the embedded pair's world under every policy and budget: whole answers and divergence.
 *
 * @module
 */

import { mean } from "../core/stats.ts";
import { absoluteOf, trendOf } from "./claims.ts";
import { type Decoded, exactShare, VARIANT_NAMES } from "./decoded/decoded.ts";
import { policyExperiment } from "./decoded/policy_experiment.ts";
import { variantPoints } from "./decoded/policy_runs.ts";
import { steppedCells } from "./decoded/policy_stats.ts";
import type { VariantKey } from "../evaluation/policy_variants.ts";
import type { Experiment, ResultTable } from "./experiment.ts";
import { percent, tableOf } from "./result.ts";

const VARIANTS = [
  "full",
  "h2o",
  "pyramid",
  "smallkv",
  "withoutMarginal",
  "queryAware",
] as const satisfies readonly VariantKey[];

const BUDGETS = [0.05, 0.1, 0.2, 0.3, 0.5];

/** Multi-step tasks on which the small model's guidance was seen to work when the pair was trained. */
const GUIDED_TASKS = ["roll", "route", "sums", "qa"];

/** Items of each task at scale `small`: enough to tell SmallKV and PyramidInfer apart at 20 %. */
const SMALL_ITEMS = 64;

/** The policy table of the embedded pair. */
export const microworldTasks: Experiment = policyExperiment({
  name: "microworld_tasks",
  module: import.meta.url,
  title: "Recall tasks of the embedded pair",
  question: "Which answers of the embedded pair survive a compressed cache, by policy and budget?",
  source: "no counterpart; stands in for Fig. 5 offline",
  inputs: ["large", "small", "microworld"],
  claims: {
    smallkvAhead: trendOf(
      "C64",
      "exact answers of SmallKV minus H2O at 30 % on roll, route, sums and qa",
    ),
    marginalGain: trendOf(
      "C29",
      "exact answers with minus without marginal tokens at 30 %, all tasks",
    ),
    queryAwareExact: absoluteOf("C64", {
      paper: null,
      statement: "exact answers of query-aware SmallKV at 10 %, mean over tasks",
      note: "No counterpart in the paper: shown, not judged.",
    }),
  },
  texts: ({ scale }) => scale === "small" ? { items: SMALL_ITEMS } : {},
  points: ({ isDefaultPair }) => isDefaultPair ? variantPoints(VARIANTS, BUDGETS) : [],
  emptyNote: "Only the embedded pair knows this world.",
  summarise(decoded) {
    const guided = (key: VariantKey) =>
      decoded.cells(key, 0.3).filter(({ group }) => GUIDED_TASKS.includes(group));
    const [whole, without] = [
      decoded.cells("smallkv", 0.3),
      decoded.cells("withoutMarginal", 0.3),
    ];
    const queryAware = steppedCells(decoded.cells("queryAware", 0.1));
    return {
      values: {
        smallkvAhead: decoded.difference(guided("smallkv"), guided("h2o"), "exact"),
        marginalGain: decoded.difference(whole, without, "exact"),
        queryAwareExact: decoded.average(queryAware.map(({ exact }) => exact)),
      },
      tables: [
        decoded.table("microworld_policies", "Policies of the embedded pair, mean over all tasks"),
        taskTable(decoded),
      ],
      figures: [
        decoded.curves("exact", "microworld_exact", "Exact answers, all tasks"),
        decoded.curves("kl", "microworld_kl", "Divergence from the full cache, all tasks"),
        ...tasksOf(decoded).map((group) =>
          decoded.curves(
            "exact",
            `microworld_exact_${group}`,
            `Exact answers, task ${group}`,
            { group },
          )
        ),
      ],
      notes: [
        "An answer is exact if greedy decoding would write all of it, the end token included.",
        "Divergence and agreement leave out the first token of an answer, which the exact prompt predicts.",
        "Intervals of exact answers are Wilson's; the others come from resampling items.",
      ],
    };
  },
});

function tasksOf({ points }: Decoded): string[] {
  return [...new Set(points[0]!.cells.map(({ group }) => group))];
}

/** Every task, budget and policy. */
function taskTable(decoded: Decoded): ResultTable {
  const rows = tasksOf(decoded).flatMap((task) =>
    decoded.points.flatMap(({ key, ratio, cells }) => {
      const items = steppedCells(cells).filter(({ group }) => group === task);
      if (items.length === 0) return [];
      return [{
        "task": task,
        "budget (%)": 100 * ratio,
        "policy": VARIANT_NAMES[key]!.label,
        "exact (%)": percent(exactShare(items)),
        "same choice (%)": 100 * mean(items.map(({ same }) => mean(same))),
        "KL (nats)": decoded.mean(items, "kl"),
        "items": items.length,
      }];
    })
  );
  return tableOf("microworld_tasks", "Every task, budget and policy", rows);
}
