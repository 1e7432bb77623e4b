/**
 * How fast a query-aware score should forget: divergence against churn, on texts that no other result uses.
 *
 * @module
 */

import { DEFAULT_DECAY } from "../cache/policy_options.ts";
import { mean } from "../core/stats.ts";
import { absoluteOf } from "./claims.ts";
import type { Decoded } from "./decoded/decoded.ts";
import { policyExperiment } from "./decoded/policy_experiment.ts";
import type { PolicyCell, PolicyPoint } from "./decoded/policy_runs.ts";
import { steppedCells } from "./decoded/policy_stats.ts";
import type { Experiment, ExperimentContext, Figure } from "./experiment.ts";
import { lineOf, percent } from "./result.ts";

const NAME = "decay_choice";
/** Factors on older rows; 0 is the current row alone, 1 the paper's sum. */
const DECAYS = [0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1];
const QUICK_DECAYS = [0, 0.5, 0.8, 1];
/** Most divergence that less churn may cost, as a multiple of the smallest. */
const PATIENCE = 2;

/** Decay of the preset. */
export const decayChoice: Experiment = policyExperiment({
  name: NAME,
  module: import.meta.url,
  title: "Decay of the small model's scores",
  question: "Which decay of the small model's scores trades divergence against churn best?",
  source: "no counterpart",
  claims: {
    churn: absoluteOf("C62", {
      statement: `tokens exchanged per step with decay ${DEFAULT_DECAY}, the preset's`,
      unit: "%",
      note: "Asserted without a number, so ours is shown and not judged.",
    }),
  },
  texts: (context) => ({ isTuning: true, ...quickItems(context) }),
  points({ scale }) {
    const isQuick = scale === "smoke";
    const ratios = isQuick ? [0.2] : [0.05, 0.1, 0.2];
    return ratios.flatMap((ratio) =>
      (isQuick ? QUICK_DECAYS : DECAYS).map((decay) => decayPoint(decay, ratio))
    );
  },
  names: () =>
    Object.fromEntries(DECAYS.map((decay) => [
      `decay${decay}`,
      { label: decay === 0 ? "current row" : `decay ${decay}`, smallModel: "small" as const },
    ])),
  summarise(decoded) {
    const preset = decoded.points.filter(({ key }) => key === `decay${DEFAULT_DECAY}`)
      .flatMap(({ cells }) => steppedCells(cells));
    return {
      values: { churn: percent(decoded.average(preset.map(({ churn }) => churn))) },
      tables: [
        decoded.table(NAME, "Divergence and churn by decay, on texts that no other result uses"),
      ],
      figures: [tradeFigure(decoded)],
      notes: [
        `By the rule "the slowest decay whose divergence is at most ${PATIENCE} times the smallest, mean over budgets", ` +
        `this run would choose ${
          chosenDecay(decoded)
        } (0 is the current row); the preset has ${DEFAULT_DECAY}.`,
      ],
    };
  },
});

/** Fewer texts than results are reported on: choosing among a few decays takes less than supporting a claim. */
function quickItems({ isDefaultPair, scale }: ExperimentContext): { items?: number } {
  if (scale === "paper") return {};
  return { items: isDefaultPair && scale === "small" ? 5 : 1 };
}

function decayPoint(decay: number, ratio: number): PolicyPoint {
  const score = decay === 0 ? "row" : decay === 1 ? "accumulated" : "decayed";
  const options = score === "decayed" ? { score, decay } as const : { score } as const;
  const setting = { policy: "smallkv", budget: { ratio }, options };
  return { key: `decay${decay}`, ratio, hasSmallModel: true, setting };
}

function chosenDecay({ points }: Decoded): number {
  const divergence = (cells: readonly PolicyCell[]) => mean(cells.map(({ kl }) => mean(kl)));
  const all = DECAYS.flatMap((decay) => {
    const values = points.filter(({ key }) => key === `decay${decay}`)
      .map(({ cells }) => steppedCells(cells)).filter((cells) => cells.length > 0)
      .map(divergence);
    return values.length === 0 ? [] : [{ decay, kl: mean(values) }];
  });
  const smallest = Math.min(...all.map(({ kl }) => kl));
  const allowed = all.filter(({ kl }) => kl <= PATIENCE * smallest);
  return Math.max(...allowed.map(({ decay }) => decay));
}

function tradeFigure(decoded: Decoded): Figure {
  const ratios = [...new Set(decoded.points.map(({ ratio }) => ratio))];
  const series = ratios.map((ratio) => {
    const cells = decoded.points.filter((point) => point.ratio === ratio)
      .map((point) => steppedCells(point.cells)).filter(({ length }) => length > 0);
    const x = cells.map((texts) => 100 * mean(texts.map(({ churn }) => churn)));
    const intervals = cells.map((texts) => decoded.mean(texts, "kl")!);
    return lineOf(`budget ${100 * ratio} %`, x, intervals);
  });
  return {
    name: "decay_trade",
    title: "Divergence against churn, from the paper's sum (left) to the current row (right)",
    kind: "scatter",
    xTitle: "tokens exchanged per step (%)",
    yTitle: "divergence from the full cache (nats a token)",
    isLog: true,
    series,
    paper: [],
  };
}
