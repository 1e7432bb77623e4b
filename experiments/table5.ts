/**
 * Table 5: SmallKV whose small model has a compressed cache, too.
 *
 * @module
 */

import { trendOf } from "./claims.ts";
import {
  cutNames,
  cutScoreClaim,
  type NamedCut,
  smallModelFigures,
  smallModelPoints,
  smallTables,
} from "./decoded/small_model_cuts.ts";
import { policyExperiment } from "./decoded/policy_experiment.ts";
import { variantPoints } from "./decoded/policy_runs.ts";
import type { Claim, Experiment, GradedPart } from "./experiment.ts";
import { Graded } from "./graded/graded.ts";

const NAME = "table5";
const BUDGET = 0.2;
/** The table: accuracy on BBH by share of the small model's own cache, and with all of it. */
const PAPER = { 20: 0.2873, 40: 0.4416, 60: 0.4624, 80: 0.4642 } as const;
const PAPER_WHOLE = 0.4359;
const SHARES = [20, 40, 60, 80] as const;
const CUTS: readonly NamedCut[] = SHARES.map((share) => ({
  key: `small${share}`,
  label: `SmallKV, small model at ${share} %`,
  cut: { smallBudget: { ratio: share / 100 } },
}));

const TASKS = ["bbh", "gsm8k", "microworld"] as const;
const cutSetting = (share: number) => `smallkv:small-budget=${share / 100}`;

const GRADED: GradedPart = {
  tasks: TASKS,
  claims: {
    ...Object.fromEntries(
      SHARES.map((share) => [`share${share}`, { ...shareClaim(share), note: "On BBH." }]),
    ),
    lowHelperLoss: trendOf(
      "C42",
      "score with the whole small model minus with a fifth of its cache",
      {
        unit: "%",
      },
    ),
    highHelperLoss: trendOf(
      "C43",
      "score with two fifths of the small model's cache minus with all",
      {
        expected: { above: -5 },
        unit: "%",
      },
    ),
    equalMemory: trendOf(
      "C44",
      "score of SmallKV at 20 % with two fifths of the small model minus H2O at 30 %",
      { unit: "%" },
    ),
  },
  summarise(answers, input) {
    const tasks = Graded.tasks(answers, TASKS, input);
    const [main] = tasks as [Graded];
    const whole = ["smallkv", BUDGET] as const;
    const at = (share: number) => [cutSetting(share), BUDGET] as const;
    const settings = ["full", "h2o", ...SHARES.map(cutSetting), "smallkv"];
    return {
      values: {
        ...Object.fromEntries(
          SHARES.map((share) => [`share${share}`, main.ratio(at(share), whole)]),
        ),
        lowHelperLoss: main.gain(whole, at(20)),
        highHelperLoss: main.gain(at(40), whole),
        equalMemory: main.gain(at(40), ["h2o", 0.3]),
      },
      tables: tasks.flatMap((task) => task.table("table5_scores", settings)),
      figures: [],
      notes: [`Values are of ${main.title}.`],
    };
  },
};

/** Table 5. */
export const table5: Experiment = policyExperiment({
  name: NAME,
  module: import.meta.url,
  title: "Compressed small model",
  question: "How much of the small model's own cache does SmallKV need?",
  source: "Table 5, A.3",
  graded: GRADED,
  claims: {
    share20: shareClaim(20),
    share40: shareClaim(40),
    share60: shareClaim(60),
    share80: shareClaim(80),
    lowHelperLoss: trendOf(
      "C42",
      "agreement with the whole small model minus with a fifth of its cache",
      { unit: "%" },
    ),
    highHelperLoss: trendOf(
      "C43",
      "agreement with two fifths of the small model's cache minus with all of it",
      { expected: { above: -5 }, unit: "%" },
    ),
    equalMemory: trendOf(
      "C44",
      "agreement of SmallKV at 20 % with two fifths of the small model minus H2O at 30 %",
      { unit: "%", note: "The total of SmallKV depends on the pair; the table shows it." },
    ),
  },
  points: () => [
    ...variantPoints(["smallkv", "h2o"], [BUDGET]),
    ...smallModelPoints(CUTS, BUDGET),
    ...variantPoints(["h2o"], [0.3]),
  ],
  names: ({ small }) => cutNames(CUTS, small),
  summarise(decoded) {
    const whole = decoded.cells("smallkv", BUDGET);
    const at = (share: keyof typeof PAPER) => decoded.cells(`small${share}`, BUDGET);
    const share = (part: keyof typeof PAPER) => decoded.ratio(at(part), whole, "same");
    return {
      values: {
        share20: share(20),
        share40: share(40),
        share60: share(60),
        share80: share(80),
        lowHelperLoss: decoded.gain(whole, at(20)),
        highHelperLoss: decoded.gain(at(40), whole),
        equalMemory: decoded.gain(at(40), decoded.cells("h2o", 0.3)),
      },
      tables: smallTables(decoded, NAME),
      figures: smallModelFigures(decoded, {
        name: NAME,
        title: "SmallKV at 20 % with a compressed small model",
        xTitle: "small model's own cache (% of all its tokens)",
        points: [
          ...SHARES.map((part) => ({ share: part, cells: at(part) })),
          { share: 100, cells: whole },
        ],
        rival: decoded.cells("h2o", BUDGET),
      }),
      notes: [
        "The small model drops tokens by H2O on its own attention; what it has dropped keeps the score it had.",
      ],
    };
  },
});

function shareClaim(share: keyof typeof PAPER): Claim {
  return cutScoreClaim(
    "C42",
    PAPER[share] / PAPER_WHOLE,
    `score with ${share} % of the small model's cache over that with all of it`,
  );
}
