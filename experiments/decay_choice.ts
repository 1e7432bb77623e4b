/**
 * How fast a query-aware score should forget: divergence against churn, on texts that no other result uses.
 *
 * @module
 */

import { DEFAULT_DECAY } from "../cache/policy_options.ts";
import { mean } from "../core/stats.ts";
import { claimOf } from "./claims.ts";
import type {
  Experiment,
  ExperimentContext,
  ExperimentResult,
  Figure,
  SummaryInput,
} from "./experiment.ts";
import {
  type PointCells,
  pointCells,
  type PolicyPoint,
  policyUnits,
} from "./decoded/policy_runs.ts";
import { meanOfTexts, percent, steppedCells } from "./decoded/policy_stats.ts";
import { type PointNames, qualityTable } from "./decoded/policy_tables.ts";
import { policyBatches } from "./decoded/policy_texts.ts";
import { defined, seeded } from "./similarity.ts";
import { meanInterval } from "../core/bootstrap.ts";

/** Numbers of this experiment. */
export type DecayChoiceKey = "churn";

const NAME = "decay_choice";
/** Factors on older rows; 0 is the current row alone, 1 the paper's sum. */
const DECAYS = [0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1];
/** Divergence that less churn may cost, over the smallest. */
const PATIENCE = 2;

/** Decay of the preset. */
export const decayChoice: Experiment<DecayChoiceKey> = {
  name: NAME,
  module: import.meta.url,
  title: "How fast to forget",
  question: "Which decay of the helper's scores trades divergence against churn best?",
  source: "no counterpart",
  version: 1,
  usesPolicies: true,
  inputs: ["large", "small", "gsm8k", "bbh", "wikitext2", "microworld"],
  claims: {
    churn: claimOf("C62", {
      kind: "absolute",
      statement: `tokens exchanged per step with decay ${DEFAULT_DECAY}, the preset's`,
      unit: "%",
      note: "Asserted without a number, so ours is shown and not judged.",
    }),
  },
  async plan(context) {
    const batches = await policyBatches(context, { isTuning: true, ...quickItems(context) });
    return policyUnits(batches, decayPoints(context));
  },
  summarise,
};

/** Fewer texts than results are reported on: a choice between a few decays needs less than a claim. */
function quickItems({ isDefaultPair, scale }: ExperimentContext): { items?: number } {
  if (scale === "paper") return {};
  return { items: isDefaultPair && scale === "small" ? 5 : 1 };
}

function decayPoints({ scale }: ExperimentContext): PolicyPoint[] {
  const isQuick = scale === "smoke";
  const decays = isQuick ? DECAYS.filter((decay) => [0, 0.5, 0.8, 1].includes(decay)) : DECAYS;
  const ratios = isQuick ? [0.2] : [0.05, 0.1, 0.2];
  return ratios.flatMap((ratio) =>
    decays.map((decay) => ({
      key: `decay${decay}`,
      ratio,
      hasHelper: true,
      setting: {
        policy: "smallkv",
        budget: { ratio },
        options: decay === 0
          ? { score: "row" as const }
          : decay === 1
          ? { score: "accumulated" as const }
          : { score: "decayed" as const, decay },
      },
    }))
  );
}

function summarise(input: SummaryInput): ExperimentResult<DecayChoiceKey> {
  const points = pointCells(input.units);
  const names: PointNames = Object.fromEntries(DECAYS.map((decay) => [
    `decay${decay}`,
    { label: decay === 0 ? "current row" : `decay ${decay}`, helper: "small" as const },
  ]));
  const options = { seed: input.seed, label: NAME, names };
  const own = points.filter(({ key }) => key === `decay${DEFAULT_DECAY}`)
    .flatMap(({ cells }) => steppedCells(cells).map(({ churn }) => churn));
  return {
    values: defined({
      churn: own.length === 0 ? undefined : percent(meanInterval(own, seeded(options))),
    }),
    tables: [
      qualityTable(points, input, {
        ...options,
        name: NAME,
        title: "Divergence and churn by decay, on texts that no other result uses",
      }),
    ],
    figures: [tradeFigure(points, options)],
    notes: [
      `By the rule "the slowest decay whose divergence is at most ${PATIENCE} times the smallest, mean over budgets", ` +
      `this run would choose ${
        chosenDecay(points)
      } (0 is the current row); the preset has ${DEFAULT_DECAY}.`,
    ],
  };
}

/** Mean divergence over budgets, by decay. */
function divergences(points: readonly PointCells[]): Map<number, number> {
  return new Map(DECAYS.flatMap((decay) => {
    const own = points.filter(({ key }) => key === `decay${decay}`);
    const values = own.flatMap(({ cells }) =>
      steppedCells(cells).length === 0 ? [] : [mean(steppedCells(cells).map(({ kl }) => mean(kl)))]
    );
    return values.length === 0 ? [] : [[decay, mean(values)] as const];
  }));
}

function chosenDecay(points: readonly PointCells[]): number {
  const all = divergences(points);
  const smallest = Math.min(...all.values());
  const allowed = [...all].filter(([, kl]) => kl <= PATIENCE * smallest);
  return Math.max(...allowed.map(([decay]) => decay));
}

function tradeFigure(
  points: readonly PointCells[],
  options: { readonly seed: number; readonly label: string },
): Figure {
  const ratios = [...new Set(points.map(({ ratio }) => ratio))];
  const series = ratios.map((ratio) => {
    const own = points.filter((point) =>
      point.ratio === ratio && steppedCells(point.cells).length > 0
    );
    const intervals = own.map(({ cells }) => meanOfTexts(cells, "kl", options)!);
    return {
      label: `budget ${100 * ratio} %`,
      x: own.map(({ cells }) => 100 * mean(steppedCells(cells).map(({ churn }) => churn))),
      y: intervals.map(({ value }) => value),
      low: intervals.map(({ low }) => low),
      high: intervals.map(({ high }) => high),
    };
  });
  return {
    name: "decay_trade",
    title: "Divergence against churn, from the paper's sum (left) to the current row (right)",
    kind: "scatter",
    xTitle: "tokens exchanged per step (%)",
    yTitle: "divergence from the full cache (nats a token)",
    series,
    paper: [],
  };
}
