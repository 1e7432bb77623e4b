/**
 * Table 6: SmallKV whose helper stops after some of its layers.
 *
 * @module
 */

import { claimOf } from "./claims.ts";
import type { Experiment, ExperimentResult, ModelShape, SummaryInput } from "./experiment.ts";
import { helperPoints, helperSummary } from "./helper_cuts.ts";
import { meanDifference, percent } from "./policy_stats.ts";
import { policyUnits, variantPoints } from "./policy_runs.ts";
import { policyBatches } from "./policy_texts.ts";
import { defined } from "./similarity.ts";

/** Numbers of this experiment. */
export type Table6Key = "curve" | "earlyStopLoss" | "lateStopGain";

const NAME = "table6";
const BUDGET = 0.2;
/** Layers that run, of the paper's 24. */
const STOPS = [20, 18, 16, 12];
const PAPER_LAYERS = 24;

/** Table 6. */
export const table6: Experiment<Table6Key> = {
  name: NAME,
  title: "Helper that stops early",
  question: "How many of the helper's layers does SmallKV need?",
  source: "Table 6",
  version: 1,
  usesPolicies: true,
  inputs: ["large", "small", "gsm8k", "bbh", "wikitext2", "microworld"],
  claims: {
    curve: claimOf("C45", {
      kind: "absolute",
      note: "BBH accuracies; ours is the table of agreement with the full cache.",
    }),
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
  },
  async plan(context) {
    const stops = layerStops(context.small);
    const cuts = stops.map((helperLayers) => ({
      key: `layers${helperLayers}`,
      cut: { helperLayers },
    }));
    const points = helperPoints(cuts, BUDGET);
    if (points.length === 0) return [];
    const own = variantPoints(["smallkv", "h2o"], [BUDGET]);
    return policyUnits(await policyBatches(context), [...own, ...points]);
  },
  summarise,
};

/** The paper's stops in a helper of other depth, without repeats and without the last layer. */
function layerStops({ layers }: Pick<ModelShape, "layers">): number[] {
  const stops = STOPS.map((stop) => Math.round(layers * stop / PAPER_LAYERS));
  return [...new Set(stops)].filter((stop) => stop > 0 && stop < layers);
}

function summarise(input: SummaryInput): ExperimentResult<Table6Key> {
  const { layers } = input.small;
  const stops = layerStops(input.small);
  const names = Object.fromEntries(stops.map((stop) => [
    `layers${stop}`,
    { label: `SmallKV, helper's first ${stop} of ${layers} layers`, helperShare: stop / layers },
  ]));
  const { cells, tables } = helperSummary(input, { name: NAME, names });
  const options = { seed: input.seed, label: NAME, measure: "same" } as const;
  const at = (stop: number) => `layers${Math.round(layers * stop / PAPER_LAYERS)}/0.2`;
  const gain = (first: string, second: string) =>
    percent(meanDifference(cells(first), cells(second), options));
  return {
    values: defined({
      earlyStopLoss: gain(at(20), "smallkv/0.2"),
      lateStopGain: gain(at(16), "h2o/0.2"),
    }),
    tables,
    figures: [],
    notes: tables.length > 0 ? [] : ["Sessions do not stop the helper early yet."],
  };
}
