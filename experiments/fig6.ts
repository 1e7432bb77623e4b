/**
 * Fig. 6: SmallKV without marginal tokens, and without its helper as well.
 *
 * @module
 */

import { claimOf } from "./claims.ts";
import type {
  Experiment,
  ExperimentContext,
  ExperimentResult,
  SummaryInput,
} from "./experiment.ts";
import { cellsOf, pointCells, policyUnits, variantPoints } from "./decoded/policy_runs.ts";
import { meanDifference, percent } from "./decoded/policy_stats.ts";
import { budgetFigure, qualityTable } from "./decoded/policy_tables.ts";
import { policyBatches } from "./decoded/policy_texts.ts";
import type { VariantKey } from "./decoded/policy_variants.ts";
import { defined } from "./similarity.ts";

/** Numbers of this experiment. */
export type Fig6Key = "marginalGain" | "meetsAtLow" | "helperGain";

const NAME = "fig6";
/** Budgets at which the paper sees marginal tokens help. */
const HELPED = [0.1, 0.2, 0.3, 0.4];

/** Fig. 6. */
export const fig6: Experiment<Fig6Key> = {
  name: NAME,
  module: import.meta.url,
  title: "What each compensation is worth",
  question: "How much is lost without marginal tokens, and without the helper's ranking too?",
  source: "Fig. 6",
  version: 1,
  usesPolicies: true,
  inputs: ["large", "small", "gsm8k", "bbh", "wikitext2", "microworld"],
  claims: {
    marginalGain: claimOf("C29", {
      kind: "trend",
      paper: null,
      statement: "divergence without minus with marginal tokens, 10 to 40 %, equal cache",
      unit: "nats",
      expected: { above: 0 },
    }),
    meetsAtLow: claimOf("C30", {
      kind: "trend",
      paper: null,
      statement: "agreement with minus without marginal tokens at 5 %",
      unit: "%",
      expected: { above: -5, below: 5 },
      note: "At 5 % at most one token is marginal, so both are nearly the same by construction.",
    }),
    helperGain: claimOf("C31", {
      kind: "trend",
      paper: null,
      statement: "divergence without both minus without marginal tokens alone, 10 to 40 %",
      unit: "nats",
      expected: { above: 0 },
    }),
  },
  async plan(context) {
    const points = variantPoints(
      ["smallkv", "withoutMarginal", "withoutHelper"],
      ratiosOf(context),
    );
    return policyUnits(await policyBatches(context), points);
  },
  summarise,
};

function ratiosOf({ scale, isDefaultPair }: ExperimentContext): number[] {
  if (isDefaultPair) return scale === "smoke" ? [0.05, 0.1, 0.2, 0.3] : [0.05, ...HELPED];
  return scale === "smoke" ? [0.1] : [0.05, 0.1, 0.2, 0.4];
}

function summarise(input: SummaryInput): ExperimentResult<Fig6Key> {
  const points = pointCells(input.units);
  const options = { seed: input.seed, label: NAME };
  const cells = (key: VariantKey) => HELPED.flatMap((ratio) => cellsOf(points, key, ratio));
  const kl = { ...options, measure: "kl" } as const;
  const atLow = meanDifference(
    cellsOf(points, "smallkv", 0.05),
    cellsOf(points, "withoutMarginal", 0.05),
    { ...options, measure: "same" },
  );
  return {
    values: defined({
      marginalGain: meanDifference(cells("withoutMarginal"), cells("smallkv"), kl),
      meetsAtLow: percent(atLow),
      helperGain: meanDifference(cells("withoutHelper"), cells("withoutMarginal"), kl),
    }),
    tables: [qualityTable(points, input, {
      ...options,
      name: "fig6_ablation",
      title: "Ablations at equal cache (D-24, D-25)",
    })],
    figures: [
      budgetFigure(points, "same", {
        ...options,
        name: "fig6_same",
        title: "Ablations, agreement",
      }),
      budgetFigure(points, "kl", { ...options, name: "fig6_kl", title: "Ablations, divergence" }),
    ],
    notes: [
      "What marginal tokens cost goes to critical and recent ones 2 : 1 where they are left out (D-24).",
      "Without both, the large model ranks its own compressed cache in the same sizes (D-25).",
    ],
  };
}
