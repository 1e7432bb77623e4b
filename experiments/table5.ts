/**
 * Table 5: SmallKV whose helper has a compressed cache of its own.
 *
 * @module
 */

import { claimOf } from "./claims.ts";
import type { Experiment, ExperimentResult, SummaryInput } from "./experiment.ts";
import { helperPoints, helperSummary } from "./helper_cuts.ts";
import { meanDifference, percent } from "./policy_stats.ts";
import { policyUnits, variantPoints } from "./policy_runs.ts";
import { policyBatches } from "./policy_texts.ts";
import { defined } from "./similarity.ts";

/** Numbers of this experiment. */
export type Table5Key = "lowHelperLoss" | "equalMemory" | "highHelperLoss" | "curve";

const NAME = "table5";
const BUDGET = 0.2;
/** Shares of the helper's own cache. */
const HELPER_BUDGETS = [0.2, 0.4, 0.6, 0.8];

/** Table 5. */
export const table5: Experiment<Table5Key> = {
  name: NAME,
  title: "Compressed helper",
  question: "How much of the helper's own cache does SmallKV need?",
  source: "Table 5, A.3",
  version: 1,
  usesPolicies: true,
  inputs: ["large", "small", "gsm8k", "bbh", "wikitext2", "microworld"],
  claims: {
    curve: claimOf("C42", {
      kind: "absolute",
      note: "BBH accuracies; ours is the table of agreement with the full cache.",
    }),
    lowHelperLoss: claimOf("C42", {
      kind: "trend",
      paper: null,
      statement: "agreement with the whole helper minus with a fifth of its cache",
      unit: "%",
      expected: { above: 0 },
    }),
    highHelperLoss: claimOf("C43", {
      kind: "trend",
      paper: null,
      statement: "agreement with two fifths of the helper's cache minus with all of it",
      unit: "%",
      expected: { above: -5 },
    }),
    equalMemory: claimOf("C44", {
      kind: "trend",
      paper: null,
      statement: "agreement of SmallKV at 20 % with two fifths of the helper minus H2O at 30 %",
      unit: "%",
      expected: { above: 0 },
      note: "The total of SmallKV depends on the pair; the table shows it.",
    }),
  },
  async plan(context) {
    const cuts = HELPER_BUDGETS.map((ratio) => ({
      key: `helper${100 * ratio}`,
      cut: { helperBudget: { ratio } },
    }));
    const points = helperPoints(cuts, BUDGET);
    if (points.length === 0) return [];
    const own = variantPoints(["smallkv", "h2o"], [BUDGET]);
    const rival = variantPoints(["h2o"], [0.3]);
    return policyUnits(await policyBatches(context), [...own, ...points, ...rival]);
  },
  summarise,
};

function summarise(input: SummaryInput): ExperimentResult<Table5Key> {
  const names = Object.fromEntries(HELPER_BUDGETS.map((ratio) => [
    `helper${100 * ratio}`,
    { label: `SmallKV, helper at ${100 * ratio} %`, helperShare: ratio },
  ]));
  const { cells, tables } = helperSummary(input, { name: NAME, names });
  const options = { seed: input.seed, label: NAME, measure: "same" } as const;
  const gain = (first: string, second: string) =>
    percent(meanDifference(cells(first), cells(second), options));
  return {
    values: defined({
      lowHelperLoss: gain("smallkv/0.2", "helper20/0.2"),
      highHelperLoss: gain("helper40/0.2", "smallkv/0.2"),
      equalMemory: gain("helper40/0.2", "h2o/0.3"),
    }),
    tables,
    figures: [],
    notes: tables.length > 0 ? [] : ["Sessions do not compress the helper's cache yet."],
  };
}
