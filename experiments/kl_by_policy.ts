/**
 * Divergence from the full cache by policy and budget, with what each policy costs.
 *
 * @module
 */

import { absoluteOf, trendOf } from "./claims.ts";
import { policyExperiment } from "./decoded/policy_experiment.ts";
import { type PolicyPoint, variantPoints } from "./decoded/policy_runs.ts";
import { steppedCells } from "./decoded/policy_stats.ts";
import { type VariantKey, variantKeys } from "../evaluation/policy_variants.ts";
import type { Experiment, ExperimentContext } from "./experiment.ts";

/** Variants that other experiments on the embedded pair decode anyway. */
const SHARED: readonly VariantKey[] = [
  "full",
  "h2o",
  "pyramid",
  "smallkv",
  "withoutMarginal",
  "queryAware",
];

/** Variants that the smallest scale decodes at only one budget, and that budget. */
const ONCE: readonly VariantKey[] = [
  "h2oTwo",
  "pyramidScaled",
  "pyramidOfficial",
  "h2oRows",
  "smallkvRows",
];
const ONCE_RATIO = 0.2;

const QUERY_AWARE = { unit: "nats", note: "Query-aware ranking is not in the paper." };

/** Divergence by policy. */
export const klByPolicy: Experiment = policyExperiment({
  name: "kl_by_policy",
  module: import.meta.url,
  title: "Divergence from the full cache",
  question: "How far does each policy stray from the full cache, and what does it cost?",
  source: "no counterpart; judge-free form of Fig. 5",
  claims: {
    smallkvGain: trendOf("C64", "KL of H2O minus KL of SmallKV, 5 to 20 %", { unit: "nats" }),
    queryAwareGain: trendOf(
      "C64",
      "KL of H2O minus KL of query-aware SmallKV, 5 to 20 %",
      QUERY_AWARE,
    ),
    presetGain: trendOf(
      "C64",
      "KL of SmallKV minus KL of query-aware SmallKV, 5 to 20 %",
      QUERY_AWARE,
    ),
    churn: absoluteOf("C62", {
      statement: "tokens that SmallKV at 20 % exchanges per step",
      unit: "%",
      note: "Asserted without a number, so ours is shown and not judged.",
    }),
  },
  points: pointsOf,
  summarise(decoded) {
    const gain = (first: VariantKey, second: VariantKey) => {
      const cells = (key: VariantKey) => decoded.cells(key, 0.05, 0.1, 0.2);
      return decoded.difference(cells(first), cells(second), "kl");
    };
    const exchanged = steppedCells(decoded.cells("smallkv", 0.2)).map(({ churn }) => 100 * churn);
    return {
      values: {
        smallkvGain: gain("h2o", "smallkv"),
        queryAwareGain: gain("h2o", "queryAware"),
        presetGain: gain("smallkv", "queryAware"),
        churn: decoded.average(exchanged),
      },
      tables: [
        decoded.table(
          "kl_by_policy",
          "Teacher-forced divergence, agreement, memory and migration",
        ),
        ...decoded.pairTable(),
        ...decoded.equalMemoryTable(),
      ],
      figures: [
        decoded.curves("kl", "kl_by_budget", "Divergence"),
        decoded.curves("same", "same_by_budget", "Agreement"),
        decoded.curves(
          "kl",
          "kl_by_memory",
          "Divergence at equal total cache, the small model's included",
          { by: "memory" },
        ),
      ],
      notes: [
        "Open texts continue with what the full cache writes, running text with itself; all policies are given these tokens, in one batch with the full cache.",
        "Means are taken over steps, then over texts; a few steps dominate them, so the table also has the median over steps.",
        "Exact: greedy decoding would write the whole forced text, which is not expected of running text.",
        "H2O and the other policies that drop after a step see one token more than they keep.",
        "PyramidInfer shrinks every 16 tokens only, and as published its cost is fixed: compare by the cache seen, not by the budget.",
        "Means over rows (D-1) divide sums of attention by the rows that could see a token; raw sums favor early tokens.",
      ],
    };
  },
});

/** A few at the smallest scale, all otherwise. */
function pointsOf({ scale, isDefaultPair }: ExperimentContext): PolicyPoint[] {
  // One selection per query head cannot be decoded in a batch with the others: it takes its own prompt for a few rows.
  const all = variantKeys().filter((key) => isDefaultPair || key !== "queryHead");
  if (scale !== "smoke") return variantPoints(all, [0.05, 0.1, 0.2, 0.4]);
  if (!isDefaultPair) return variantPoints(["full", "h2o", "smallkv", "queryAware"], [0.1]);
  return [...variantPoints(SHARED, [0.05, 0.1, 0.2]), ...variantPoints(ONCE, [ONCE_RATIO])];
}
