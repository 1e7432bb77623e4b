/**
 * Fig. 7: a larger helper instead of the small one; needs a third model of the same family.
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
import {
  cellsOf,
  pointCells,
  type PolicyPoint,
  policyUnits,
  variantPoints,
} from "./decoded/policy_runs.ts";
import { meanDifference, meanOfTexts, percent } from "./decoded/policy_stats.ts";
import { budgetFigure, type PointNames, qualityTable } from "./decoded/policy_tables.ts";
import { policyBatches } from "./decoded/policy_texts.ts";
import { defined } from "./similarity.ts";

/** Numbers of this experiment. */
export type Fig7Key = "meanGain" | "lowGain" | "gain1500" | "gain3000" | "gain7000";

const NAME = "fig7";
const NAMES: PointNames = {
  smallkv: { label: "small helper", helper: "small" },
  smallkvOther: { label: "other helper", helper: "other" },
};
const NOT_JUDGED = "The paper's pairs are Qwen2.5-14B with 0.5B, 1.5B, 3B and 7B; not run here.";

/** Fig. 7. */
export const fig7: Experiment<Fig7Key> = {
  name: NAME,
  module: import.meta.url,
  title: "Larger helpers",
  question: "Does a larger helper of the same family guide better than the small one?",
  source: "Fig. 7",
  version: 1,
  usesPolicies: true,
  inputs: ["large", "small", "other", "gsm8k", "bbh", "wikitext2", "microworld"],
  claims: {
    meanGain: claimOf("C32", {
      kind: "trend",
      paper: null,
      unit: "%",
      statement: "agreement with the other helper minus that with the small one, mean over budgets",
      expected: { above: 0 },
      note: "Holds where the other model is larger than the small one.",
    }),
    lowGain: claimOf("C35", {
      kind: "trend",
      paper: null,
      unit: "%",
      statement: "the same at 5 %",
      expected: { above: 0 },
      note: "Holds where the other model is larger than the small one.",
    }),
    gain1500: claimOf("C32", { kind: "absolute", note: NOT_JUDGED }),
    gain3000: claimOf("C33", { kind: "absolute", note: NOT_JUDGED }),
    gain7000: claimOf("C34", { kind: "absolute", note: NOT_JUDGED }),
  },
  async plan(context) {
    if (!hasSecondHelper(context)) return [];
    const own = variantPoints(["smallkv"], ratiosOf(context));
    const other = own.map((point): PolicyPoint => ({
      ...point,
      key: "smallkvOther",
      helper: "other",
    }));
    return policyUnits(await policyBatches(context), [...own, ...other]);
  },
  summarise,
};

/** A helper must read the same tokens. */
function hasSecondHelper({ large, other }: ExperimentContext): boolean {
  const text = "The small model reads the same 27 tokens.";
  return other !== undefined && other.vocabulary === large.vocabulary &&
    other.encode(text).join() === large.encode(text).join();
}

function ratiosOf({ scale }: ExperimentContext): number[] {
  return scale === "smoke" ? [0.05] : [0.05, 0.1, 0.2, 0.4];
}

function summarise(input: SummaryInput): ExperimentResult<Fig7Key> {
  const points = pointCells(input.units);
  if (points.length === 0) {
    const notes = ["Needs --other with a model that has the pair's tokenizer."];
    return { values: {}, tables: [], figures: [], notes };
  }
  const options = { seed: input.seed, label: NAME, names: NAMES };
  const cells = (key: string) =>
    points.filter((point) => point.key === key).flatMap((point) => point.cells);
  const same = { ...options, measure: "same" } as const;
  return {
    values: defined({
      meanGain: percent(meanDifference(cells("smallkvOther"), cells("smallkv"), same)),
      lowGain: percent(
        meanDifference(
          cellsOf(points, "smallkvOther", 0.05),
          cellsOf(points, "smallkv", 0.05),
          same,
        ),
      ),
    }),
    tables: [
      qualityTable(points, input, { ...options, name: "fig7_helpers", title: "Two helpers" }),
    ],
    figures: [
      budgetFigure(points, "same", { ...options, name: "fig7_same", title: "Two helpers" }),
    ],
    notes: [
      `Mean agreement with the small helper: ${
        (100 * meanOfTexts(cells("smallkv"), "same", options)!.value).toFixed(1)
      } %.`,
    ],
  };
}
