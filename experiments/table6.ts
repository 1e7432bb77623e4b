/**
 * Table 6: SmallKV whose helper stops after some of its layers.
 *
 * @module
 */

import { claimOf } from "./claims.ts";
import type {
  Claim,
  Experiment,
  ExperimentResult,
  ModelShape,
  SummaryInput,
} from "./experiment.ts";
import {
  cutShare,
  helperFigures,
  helperPoints,
  helperSummary,
  type NamedCut,
} from "./decoded/helper_cuts.ts";
import { entryBytes, meanDifference, meanRatio, percent } from "./decoded/policy_stats.ts";
import { policyUnits, variantPoints } from "./decoded/policy_runs.ts";
import { policyBatches } from "./decoded/policy_texts.ts";
import { defined } from "./similarity.ts";

/** Numbers of this experiment. */
export type Table6Key =
  | "stop20"
  | "stop18"
  | "stop16"
  | "stop12"
  | "earlyStopLoss"
  | "lateStopGain"
  | "bothLoss"
  | "bothCache";

const NAME = "table6";
const BUDGET = 0.2;
/** The table: accuracy on BBH by the layers that run, and with all of them. */
const PAPER = { 20: 0.436, 18: 0.390, 16: 0.359, 12: 0.335 } as const;
const PAPER_WHOLE = 0.436;
const PAPER_LAYERS = 24;
const STOPS = [20, 18, 16, 12] as const;
/** A.3's example of both savings. */
const BOTH = { key: "both", ratio: 0.4, stop: 20 } as const;

/** Table 6. */
export const table6: Experiment<Table6Key> = {
  name: NAME,
  module: import.meta.url,
  title: "Helper that stops early",
  question: "How many of the helper's layers does SmallKV need?",
  source: "Table 6, A.3",
  version: 2,
  usesPolicies: true,
  inputs: ["large", "small", "gsm8k", "bbh", "wikitext2", "microworld"],
  claims: {
    stop20: stopClaim(20),
    stop18: stopClaim(18),
    stop16: stopClaim(16),
    stop12: stopClaim(12),
    earlyStopLoss: claimOf("C46", {
      kind: "trend",
      paper: null,
      statement: "agreement with five sixths of the helper's layers minus with all of them",
      unit: "%",
      expected: { above: -5 },
    }),
    lateStopGain: claimOf("C46", {
      kind: "trend",
      paper: null,
      statement: "agreement with two thirds of the helper's layers minus H2O, both at 20 %",
      unit: "%",
      expected: { above: 0 },
    }),
    bothLoss: claimOf("C47", {
      kind: "trend",
      paper: null,
      statement: "agreement with five sixths of the helper's layers at 40 % minus the whole helper",
      unit: "%",
      expected: { above: -5 },
    }),
    bothCache: claimOf("C47", {
      kind: "absolute",
      statement: "cache of five sixths of the helper's layers at 40 %, of the large model's",
      note: "With the paper's own pair it is 7.14 %: see the arithmetic.",
    }),
  },
  async plan(context) {
    const points = helperPoints(cutsOf(context.small), BUDGET);
    const own = variantPoints(["smallkv", "h2o"], [BUDGET]);
    return policyUnits(await policyBatches(context), [...own, ...points]);
  },
  summarise,
};

function stopClaim(stop: keyof typeof PAPER): Claim {
  return claimOf("C45", {
    kind: "absolute",
    paper: Math.round(1000 * PAPER[stop] / PAPER_WHOLE) / 1000,
    statement: `score with ${stop} of ${PAPER_LAYERS} layers over that with all of them`,
    note: "The paper's score is accuracy on BBH, ours agreement with the full cache.",
  });
}

/** A stop of the paper in a helper of other depth, rounded down. */
function stopOf(stop: number, { layers }: Pick<ModelShape, "layers">): number {
  return Math.max(1, Math.floor(layers * stop / PAPER_LAYERS));
}

/** The stops that differ, from deep to shallow. */
function stopsOf(small: Pick<ModelShape, "layers">): number[] {
  return [...new Set(STOPS.map((stop) => stopOf(stop, small)))];
}

function cutsOf(small: Pick<ModelShape, "layers">): NamedCut[] {
  const label = (layers: number) => `SmallKV, helper's first ${layers} of ${small.layers} layers`;
  const both = stopOf(BOTH.stop, small);
  return [
    ...stopsOf(small).map((helperLayers) => ({
      key: `layers${helperLayers}`,
      label: label(helperLayers),
      cut: { helperLayers },
    })),
    {
      key: BOTH.key,
      label: `${label(both)} at ${100 * BOTH.ratio} %`,
      cut: { helperLayers: both, helperBudget: { ratio: BOTH.ratio } },
    },
  ];
}

function summarise(input: SummaryInput): ExperimentResult<Table6Key> {
  const { small, large, seed } = input;
  const cuts = cutsOf(small);
  const { cells, tables } = helperSummary(input, { name: NAME, cuts });
  const options = { seed, label: NAME, measure: "same" } as const;
  const whole = cells(`smallkv/${BUDGET}`);
  const at = (stop: number) => `layers${stopOf(stop, small)}/${BUDGET}`;
  const gain = (first: string, second: string) =>
    percent(meanDifference(cells(first), cells(second), options));
  const share = (stop: keyof typeof PAPER) => meanRatio(cells(at(stop)), whole, options);
  const cache = 100 * cutShare(cuts.at(-1)!.cut, small) * entryBytes(small) / entryBytes(large);
  return {
    values: defined({
      stop20: share(20),
      stop18: share(18),
      stop16: share(16),
      stop12: share(12),
      earlyStopLoss: gain(at(20), `smallkv/${BUDGET}`),
      lateStopGain: gain(at(16), `h2o/${BUDGET}`),
      bothLoss: gain(`${BOTH.key}/${BUDGET}`, `smallkv/${BUDGET}`),
      bothCache: { value: cache, low: cache, high: cache, n: whole.length },
    }),
    tables,
    figures: helperFigures({
      ...options,
      name: NAME,
      title: "SmallKV at 20 % with a helper that stops early",
      xTitle: "layers of the helper that run (%)",
      points: [
        ...stopsOf(small).toReversed().map((stop) => ({
          share: 100 * stop / small.layers,
          cells: cells(`layers${stop}/${BUDGET}`),
        })),
        { share: 100, cells: whole },
      ],
      rival: cells(`h2o/${BUDGET}`),
    }),
    notes: [
      "Stops are rounded down to whole layers, of which the small model has " + small.layers + ".",
    ],
  };
}
