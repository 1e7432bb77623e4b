/**
 * Table 6: SmallKV whose small model stops after some of its layers.
 *
 * @module
 */

import { absoluteOf, trendOf } from "./claims.ts";
import {
  cutNames,
  cutScoreClaim,
  cutShare,
  type NamedCut,
  smallModelFigures,
  smallModelPoints,
  smallTables,
} from "./decoded/small_model_cuts.ts";
import { policyExperiment } from "./decoded/policy_experiment.ts";
import { variantPoints } from "./decoded/policy_runs.ts";
import { entryBytes } from "./decoded/policy_stats.ts";
import type { Claim, Experiment, GradedPart, ModelShape } from "./experiment.ts";
import { Graded } from "./graded/graded.ts";
import { exactly } from "./result.ts";

const NAME = "table6";
const BUDGET = 0.2;
/** The table: accuracy on BBH by the layers that run, and with all of them. */
const PAPER = { 20: 0.436, 18: 0.390, 16: 0.359, 12: 0.335 } as const;
const PAPER_WHOLE = 0.436;
const PAPER_LAYERS = 24;
const STOPS = [20, 18, 16, 12] as const;
/** A.3's example of both savings. */
const BOTH = { key: "both", ratio: 0.4, stop: 20 } as const;

const TASKS = ["bbh", "gsm8k", "microworld"] as const;

const GRADED: GradedPart = {
  tasks: TASKS,
  claims: {
    ...Object.fromEntries(
      STOPS.map((stop) => [`stop${stop}`, { ...stopClaim(stop), note: "On BBH." }]),
    ),
    earlyStopLoss: trendOf(
      "C46",
      "score with five sixths of the small model's layers minus with all of them",
      { expected: { above: -5 }, unit: "%" },
    ),
    lateStopGain: trendOf(
      "C46",
      "score with two thirds of the small model's layers minus H2O, both at 20 %",
      { unit: "%" },
    ),
  },
  summarise(answers, input) {
    const tasks = Graded.tasks(answers, TASKS, input);
    const [main] = tasks as [Graded];
    const setting = (stop: number) => `smallkv:small-layers=${stopOf(stop, input.small)}`;
    const at = (stop: number) => [setting(stop), BUDGET] as const;
    const whole = ["smallkv", BUDGET] as const;
    return {
      values: {
        ...Object.fromEntries(STOPS.map((stop) => [`stop${stop}`, main.ratio(at(stop), whole)])),
        earlyStopLoss: main.gain(at(20), whole),
        lateStopGain: main.gain(at(16), ["h2o", BUDGET]),
      },
      tables: tasks.flatMap((task) =>
        task.table("table6_scores", ["full", "h2o", ...new Set(STOPS.map(setting)), "smallkv"])
      ),
      figures: [],
      notes: [`Values are of ${main.title}; stops are rounded down to whole layers.`],
    };
  },
};

/** Table 6. */
export const table6: Experiment = policyExperiment({
  name: NAME,
  module: import.meta.url,
  title: "Small model that stops early",
  question: "How many of the small model's layers does SmallKV need?",
  source: "Table 6, A.3",
  graded: GRADED,
  claims: {
    stop20: stopClaim(20),
    stop18: stopClaim(18),
    stop16: stopClaim(16),
    stop12: stopClaim(12),
    earlyStopLoss: trendOf(
      "C46",
      "agreement with five sixths of the small model's layers minus with all of them",
      { expected: { above: -5 }, unit: "%" },
    ),
    lateStopGain: trendOf(
      "C46",
      "agreement with two thirds of the small model's layers minus H2O, both at 20 %",
      { unit: "%" },
    ),
    bothLoss: trendOf(
      "C47",
      "agreement with five sixths of the small model's layers at 40 % minus the whole small model",
      { expected: { above: -5 }, unit: "%" },
    ),
    bothCache: absoluteOf("C47", {
      statement: "cache of five sixths of the small model's layers at 40 %, of the large model's",
      note: "With the paper's own pair it is 7.14 %: see the arithmetic.",
    }),
  },
  points: ({ small }) => [
    ...variantPoints(["smallkv", "h2o"], [BUDGET]),
    ...smallModelPoints(cutsOf(small), BUDGET),
  ],
  names: ({ small }) => cutNames(cutsOf(small), small),
  summarise(decoded, { small, large }) {
    const whole = decoded.cells("smallkv", BUDGET);
    const rival = decoded.cells("h2o", BUDGET);
    const at = (stop: number) => decoded.cells(`layers${stopOf(stop, small)}`, BUDGET);
    const share = (stop: keyof typeof PAPER) => decoded.ratio(at(stop), whole, "same");
    const left = cutShare(cutsOf(small).at(-1)!.cut, small);
    return {
      values: {
        stop20: share(20),
        stop18: share(18),
        stop16: share(16),
        stop12: share(12),
        earlyStopLoss: decoded.gain(at(20), whole),
        lateStopGain: decoded.gain(at(16), rival),
        bothLoss: decoded.gain(decoded.cells(BOTH.key, BUDGET), whole),
        bothCache: exactly(100 * left * entryBytes(small) / entryBytes(large), whole.length),
      },
      tables: smallTables(decoded, NAME),
      figures: smallModelFigures(decoded, {
        name: NAME,
        title: "SmallKV at 20 % with a small model that stops early",
        xTitle: "layers of the small model that run (%)",
        points: [
          ...stopsOf(small).toReversed().map((stop) => ({
            share: 100 * stop / small.layers,
            cells: decoded.cells(`layers${stop}`, BUDGET),
          })),
          { share: 100, cells: whole },
        ],
        rival,
      }),
      notes: [
        `Stops are rounded down to whole layers, of which the small model has ${small.layers}.`,
      ],
    };
  },
});

function stopClaim(stop: keyof typeof PAPER): Claim {
  return cutScoreClaim(
    "C45",
    PAPER[stop] / PAPER_WHOLE,
    `score with ${stop} of ${PAPER_LAYERS} layers over that with all of them`,
  );
}

/** A stop of the paper in a small model of other depth, rounded down. */
function stopOf(stop: number, { layers }: Pick<ModelShape, "layers">): number {
  return Math.max(1, Math.floor(layers * stop / PAPER_LAYERS));
}

/** The stops that differ, from deep to shallow. */
function stopsOf(small: Pick<ModelShape, "layers">): number[] {
  return [...new Set(STOPS.map((stop) => stopOf(stop, small)))];
}

function cutsOf(small: Pick<ModelShape, "layers">): NamedCut[] {
  const label = (layers: number) =>
    `SmallKV, small model's first ${layers} of ${small.layers} layers`;
  const both = stopOf(BOTH.stop, small);
  return [
    ...stopsOf(small).map((smallLayers) => ({
      key: `layers${smallLayers}`,
      label: label(smallLayers),
      cut: { smallLayers },
    })),
    {
      key: BOTH.key,
      label: `${label(both)} at ${100 * BOTH.ratio} %`,
      cut: { smallLayers: both, smallBudget: { ratio: BOTH.ratio } },
    },
  ];
}
