/**
 * Fig. 7: a larger small model instead of the small one; needs a third model of the same family.
 *
 * @module
 */

import { absoluteOf, trendOf } from "./claims.ts";
import { policyExperiment } from "./decoded/policy_experiment.ts";
import { type PolicyPoint, variantPoints } from "./decoded/policy_runs.ts";
import type { Experiment, ExperimentContext, GradedPart } from "./experiment.ts";
import { Graded } from "./graded/graded.ts";

const NOT_JUDGED = "The paper's pairs are Qwen2.5-14B with 0.5B, 1.5B, 3B and 7B; not run here.";
const LARGER = {
  unit: "%",
  note: "Holds where the other model is larger than the small one.",
};

const TASKS = ["bbh", "gsm8k", "microworld"] as const;
/** An evaluation's name of SmallKV whose small model is the large one itself. */
const OWN = "smallkv (large model as small)";

const GRADED: GradedPart = {
  tasks: TASKS,
  claims: {
    ownGain: trendOf(
      "C32",
      "score with the large model as its own small model minus with the small one, mean over budgets",
      { unit: "%", note: "An upper bound of what a larger small model can give." },
    ),
    ownGainLow: trendOf("C35", "the same at 5 %", { unit: "%" }),
  },
  summarise(answers, input) {
    const tasks = Graded.tasks(answers, TASKS, input);
    const [main] = tasks as [Graded];
    const settings = ["full", "smallkv", OWN];
    return {
      values: {
        ownGain: main.gain([OWN, ...main.ratios], ["smallkv", ...main.ratios]),
        ownGainLow: main.gain([OWN, 0.05], ["smallkv", 0.05]),
      },
      tables: tasks.flatMap((task) => task.table("fig7_scores", settings)),
      figures: tasks.flatMap((task) => task.curves("fig7_scores", "Small models", settings)),
      notes: [
        `Values are of ${main.title}; answers of another small model need a folder of their own.`,
      ],
    };
  },
};

/** Fig. 7. */
export const fig7: Experiment = policyExperiment({
  name: "fig7",
  module: import.meta.url,
  title: "Size of the small model",
  question: "Does a larger small model of the same family guide better than the small one?",
  source: "Fig. 7",
  graded: GRADED,
  inputs: ["large", "small", "other", "gsm8k", "bbh", "wikitext2", "microworld"],
  claims: {
    meanGain: trendOf(
      "C32",
      "agreement with the other small model minus that with the small one, mean over budgets",
      LARGER,
    ),
    lowGain: trendOf("C35", "the same at 5 %", LARGER),
    gain1500: absoluteOf("C32", { note: NOT_JUDGED }),
    gain3000: absoluteOf("C33", { note: NOT_JUDGED }),
    gain7000: absoluteOf("C34", { note: NOT_JUDGED }),
  },
  points(context) {
    if (!hasSecondSmallModel(context)) return [];
    const ratios = context.scale === "smoke" ? [0.05] : [0.05, 0.1, 0.2, 0.4];
    const small = variantPoints(["smallkv"], ratios);
    return [
      ...small,
      ...small.map((point): PolicyPoint => ({
        ...point,
        key: "smallkvOther",
        smallModel: "other",
      })),
    ];
  },
  names: () => ({
    smallkv: { label: "small model", smallModel: "small" },
    smallkvOther: { label: "other small model", smallModel: "other" },
  }),
  emptyNote: "Needs --other with a model that has the pair's tokenizer.",
  summarise(decoded) {
    const [small, other] = [decoded.cells("smallkv"), decoded.cells("smallkvOther")];
    const [smallLow, otherLow] = [
      decoded.cells("smallkv", 0.05),
      decoded.cells("smallkvOther", 0.05),
    ];
    const agreement = 100 * decoded.mean(small, "same")!.value;
    return {
      values: {
        meanGain: decoded.gain(other, small),
        lowGain: decoded.gain(otherLow, smallLow),
      },
      tables: [decoded.table("fig7_helpers", "Two small models")],
      figures: [decoded.curves("same", "fig7_same", "Two small models")],
      notes: [`Mean agreement with the small model: ${agreement.toFixed(1)} %.`],
    };
  },
});

/** A small model must read the same tokens. */
function hasSecondSmallModel({ large, other }: ExperimentContext): boolean {
  const text = "The small model reads the same 27 tokens.";
  return other !== undefined && other.vocabulary === large.vocabulary &&
    other.encode(text).join() === large.encode(text).join();
}
