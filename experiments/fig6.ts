/**
 * Fig. 6: SmallKV without marginal tokens, and without its small model as well.
 *
 * @module
 */

import { trendOf } from "./claims.ts";
import { policyExperiment } from "./decoded/policy_experiment.ts";
import { variantPoints } from "./decoded/policy_runs.ts";
import type { VariantKey } from "../evaluation/policy_variants.ts";
import type { Experiment, ExperimentContext, GradedPart } from "./experiment.ts";
import { Graded, variantSetting } from "./graded/graded.ts";

/** Budgets at which the paper sees marginal tokens help. */
const WITH_SMALL_MODEL = [0.1, 0.2, 0.3, 0.4];

const TASKS = ["bbh", "gsm8k", "microworld"] as const;
const [WHOLE, WITHOUT_MARGINAL, WITHOUT_BOTH] =
  (["smallkv", "withoutMarginal", "withoutSmallModel"] as const).map(variantSetting) as [
    string,
    string,
    string,
  ];

const GRADED: GradedPart = {
  tasks: TASKS,
  claims: {
    marginalGain: trendOf("C29", "score with minus without marginal tokens, mean of 10 to 40 %", {
      unit: "%",
    }),
    meetsAtLow: trendOf("C30", "score with minus without marginal tokens at 5 %", {
      expected: { above: -5, below: 5 },
      unit: "%",
    }),
    helperGain: trendOf(
      "C31",
      "score without marginal tokens alone minus without both, mean of 10 to 40 %",
      { unit: "%" },
    ),
  },
  summarise(answers, input) {
    const tasks = Graded.tasks(answers, TASKS, input);
    const [main] = tasks as [Graded];
    const settings = ["full", WHOLE, WITHOUT_MARGINAL, WITHOUT_BOTH];
    const over = (setting: string) => [setting, ...WITH_SMALL_MODEL] as const;
    return {
      values: {
        marginalGain: main.gain(over(WHOLE), over(WITHOUT_MARGINAL)),
        meetsAtLow: main.gain([WHOLE, 0.05], [WITHOUT_MARGINAL, 0.05]),
        helperGain: main.gain(over(WITHOUT_MARGINAL), over(WITHOUT_BOTH)),
      },
      tables: tasks.flatMap((task) => task.table("fig6_scores", settings)),
      figures: tasks.flatMap((task) => task.curves("fig6_scores", "Ablations", settings)),
      notes: [`Values are of ${main.title}, at those of the budgets that were run.`],
    };
  },
};

/** Fig. 6. */
export const fig6: Experiment = policyExperiment({
  name: "fig6",
  module: import.meta.url,
  title: "Ablation of marginal tokens and of the small model's ranking",
  question: "How much is lost without marginal tokens, and without the small model's ranking too?",
  source: "Fig. 6",
  graded: GRADED,
  claims: {
    marginalGain: trendOf(
      "C29",
      "divergence without minus with marginal tokens, 10 to 40 %, equal cache",
      { unit: "nats" },
    ),
    meetsAtLow: trendOf("C30", "agreement with minus without marginal tokens at 5 %", {
      expected: { above: -5, below: 5 },
      unit: "%",
      note: "At 5 % at most one token is marginal, so both are nearly the same by construction.",
    }),
    helperGain: trendOf(
      "C31",
      "divergence without both minus without marginal tokens alone, 10 to 40 %",
      { unit: "nats" },
    ),
  },
  points: (context) =>
    variantPoints(["smallkv", "withoutMarginal", "withoutSmallModel"], ratiosOf(context)),
  summarise(decoded) {
    const cells = (key: VariantKey) => decoded.cells(key, ...WITH_SMALL_MODEL);
    const [whole, without] = [
      decoded.cells("smallkv", 0.05),
      decoded.cells("withoutMarginal", 0.05),
    ];
    return {
      values: {
        marginalGain: decoded.difference(cells("withoutMarginal"), cells("smallkv"), "kl"),
        meetsAtLow: decoded.gain(whole, without),
        helperGain: decoded.difference(cells("withoutSmallModel"), cells("withoutMarginal"), "kl"),
      },
      tables: [decoded.table("fig6_ablation", "Ablations at equal cache (D-24, D-25)")],
      figures: [
        decoded.curves("same", "fig6_same", "Ablations, agreement"),
        decoded.curves("kl", "fig6_kl", "Ablations, divergence"),
      ],
      notes: [
        "What marginal tokens cost goes to critical and recent ones 2 : 1 where they are left out (D-24).",
        "Without both, the large model ranks its own compressed cache in the same sizes (D-25).",
      ],
    };
  },
});

function ratiosOf({ scale, isDefaultPair }: ExperimentContext): number[] {
  if (isDefaultPair) return scale === "smoke" ? [0.05, 0.1, 0.2, 0.3] : [0.05, ...WITH_SMALL_MODEL];
  return scale === "smoke" ? [0.1] : [0.05, 0.1, 0.2, 0.4];
}
