/**
 * Fig. 5: quality against budget for H2O, PyramidInfer and SmallKV.
 *
 * @module
 */

import type { Interval } from "../core/bootstrap.ts";
import { mean } from "../core/stats.ts";
import { absoluteOf, MAIN_PAIR, trendOf } from "./claims.ts";
import type { Decoded } from "./decoded/decoded.ts";
import { policyExperiment } from "./decoded/policy_experiment.ts";
import { SMALL_ALONE } from "../evaluation/settings.ts";
import { Graded, shareAhead, variantSetting } from "./graded/graded.ts";
import { type PolicyCell, variantPoints } from "./decoded/policy_runs.ts";
import { measureOf, steppedCells } from "./decoded/policy_stats.ts";
import type { VariantKey } from "../evaluation/policy_variants.ts";
import type { Experiment, ExperimentContext, GradedPart } from "./experiment.ts";
import { pairItems } from "../evaluation/comparisons.ts";
import { exactly, percent } from "./result.ts";

const RIVALS = ["h2o", "pyramid"] as const satisfies readonly VariantKey[];

/** The paper's benchmarks, and the embedded pair's. */
const TASKS = ["gsm8k", "bbh", "mt_bench", "microworld"] as const;
const [H2O, PYRAMID, SMALLKV] = (["h2o", "pyramid", "smallkv"] as const).map(variantSetting) as [
  string,
  string,
  string,
];
const LOW = 0.05;

const GRADED: GradedPart = {
  tasks: TASKS,
  claims: {
    fullScore: absoluteOf("C07", { statement: "score of the full cache on GSM8K" }),
    h2oDrop: trendOf("C06", "score of H2O on BBH, 15 % minus 5 %", { unit: "%" }),
    h2oLow: lowScoreClaim("C08", 0.46, "H2O"),
    pyramidLow: lowScoreClaim("C09", 0.59, "PyramidInfer"),
    smallkvLow: lowScoreClaim("C10", 0.92, "SmallKV"),
    h2oGain: trendOf("C64", "score of SmallKV minus H2O at 5 %", { unit: "%" }),
    pyramidGain: trendOf("C64", "score of SmallKV minus PyramidInfer at 5 %", { unit: "%" }),
    randomGain: trendOf("C64", "score of SmallKV minus a random choice at 5 %", { unit: "%" }),
    cellsAhead: trendOf("C64", "tasks and budgets on which SmallKV scores above both others", {
      expected: { above: 75 },
      unit: "%",
    }),
    latency: absoluteOf("C41", {
      statement: "time per new token of the large over the small model, both with full caches",
      note: "Each answer's share of the steps that it was decoded in.",
    }),
    fourBits: absoluteOf("C63", {
      statement: "parameters of the large model in 4 bits while it answers",
      unit: "%",
    }),
  },
  summarise(answers, input) {
    const tasks = Graded.tasks(answers, TASKS, input);
    const [main] = tasks as [Graded];
    const bbh = tasks.find(({ name }) => name === "bbh");
    const contests = tasks.flatMap((task) =>
      task.ratios.map((ratio) => task.contest([SMALLKV, ratio], [[H2O, ratio], [PYRAMID, ratio]]))
    );
    const low = (setting: string) => percent(main.ratio([setting, LOW], ["full", 1]));
    const gain = (setting: string) => main.gain([SMALLKV, LOW], [setting, LOW]);
    const types = Object.entries(input.large.parametersByType);
    const count = (of: typeof types) => of.reduce((sum, [, parameters]) => sum + parameters, 0);
    return {
      values: {
        fullScore: main.name === "gsm8k" ? main.score(["full", 1]) : undefined,
        h2oDrop: bbh?.gain([H2O, 0.15], [H2O, LOW]),
        h2oLow: low(H2O),
        pyramidLow: low(PYRAMID),
        smallkvLow: low(SMALLKV),
        h2oGain: gain(H2O),
        pyramidGain: gain(PYRAMID),
        randomGain: gain("random"),
        cellsAhead: shareAhead(contests, input),
        latency: main.quotient(
          pairItems(main.at(["full", 1]), main.at([SMALL_ALONE, 1])),
          (items) =>
            mean(items.map((one) => one.decodeSeconds)) / mean(items.map((one) => one.tokens)),
        ),
        fourBits: exactly(
          100 * count(types.filter(([type]) => /[QU]4|FP4/i.test(type))) / count(types),
        ),
      },
      tables: tasks.flatMap((task) => task.table("fig5_scores")),
      figures: tasks.flatMap((task) => task.curves("fig5_scores", "Score by budget")),
      notes: [`Scores at 5 % and times are of ${main.title}.`],
    };
  },
};

function lowScoreClaim(id: string, share: number, policy: string) {
  return absoluteOf(id, {
    paper: Math.round(100 * share),
    unit: "%",
    tolerance: 5,
    pairs: MAIN_PAIR,
    statement: `${policy} at 5 %: score over that of the full cache`,
  });
}

/** Fig. 5. */
export const fig5: Experiment = policyExperiment({
  name: "fig5",
  module: import.meta.url,
  title: "Quality against budget",
  question: "How does quality fall with the budget under H2O, PyramidInfer and SmallKV?",
  source: "Fig. 5, Fig. 2",
  graded: GRADED,
  claims: {
    fullExact: absoluteOf("C07", {
      statement: "exact answers of the full cache",
      note: "The paper's benchmark is presumably GSM8K; ours are the embedded pair's tasks.",
    }),
    h2oDrop: trendOf("C06", "agreement of H2O with the full cache, 15 % minus 5 %", { unit: "%" }),
    h2oLow: lowClaim("C08", 0.46, "H2O"),
    pyramidLow: lowClaim("C09", 0.59, "PyramidInfer"),
    smallkvLow: lowClaim("C10", 0.92, "SmallKV"),
    cellsAhead: trendOf("C64", "tasks and budgets on which SmallKV agrees more than both others", {
      expected: { above: 75 },
      unit: "%",
    }),
  },
  points: (context) => [
    ...variantPoints(["full", ...RIVALS, "smallkv"], ratiosOf(context)),
    ...variantPoints(["h2o"], [0.15]),
  ],
  summarise(decoded, { isDefaultPair }) {
    const low = (key: VariantKey) => percent(decoded.mean(decoded.cells(key, 0.05), "same"));
    const [high, lowest] = [decoded.cells("h2o", 0.15), decoded.cells("h2o", 0.05)];
    const points = decoded.points.filter(({ ratio }) => ratio !== 0.15);
    return {
      values: {
        fullExact: isDefaultPair
          ? percent(decoded.mean(decoded.cells("full", 1), "exact"))
          : undefined,
        h2oDrop: decoded.gain(high, lowest),
        h2oLow: low("h2o"),
        pyramidLow: low("pyramid"),
        smallkvLow: low("smallkv"),
        cellsAhead: cellsAhead(decoded, points.map(({ ratio }) => ratio)),
      },
      tables: [decoded.table("fig5_quality", "Quality against budget, all tasks")],
      figures: [
        decoded.curves("same", "fig5_same", "Agreement", { points }),
        decoded.curves("kl", "fig5_kl", "Divergence", { points }),
        decoded.curves("kl", "fig5_memory", "Divergence at equal total cache", {
          points,
          by: "memory",
        }),
      ],
      notes: [
        "No judge and no benchmark score: quality is agreement with the full cache on forced text.",
        "Equal total memory: a small model's whole cache is added to SmallKV's budget in the last figure and the table.",
      ],
    };
  },
});

/** The paper's score at 5 % over its full score, next to our agreement with the full cache. */
function lowClaim(id: string, share: number, policy: string) {
  return absoluteOf(id, {
    paper: Math.round(100 * share),
    unit: "%",
    statement: `${policy} at 5 %: score over that of the full cache; ours is agreement with it`,
    note:
      "Agreement of forced steps is no benchmark score, so the numbers are shown side by side and not judged.",
  });
}

function ratiosOf({ scale, isDefaultPair }: ExperimentContext): number[] {
  if (isDefaultPair) return [0.05, 0.1, 0.2, 0.3, 0.5];
  return scale === "smoke" ? [0.05] : [0.05, 0.1, 0.2, 0.4];
}

/** Share of the pairs of group and budget at which SmallKV is ahead of both others. */
function cellsAhead(decoded: Decoded, ratios: readonly number[]): Interval | undefined {
  const at = (key: VariantKey, ratio: number) => steppedCells(decoded.cells(key, ratio));
  const compared = [...new Set(ratios)].filter((ratio) => ratio < 1).map((ratio) => ({
    ours: at("smallkv", ratio),
    others: RIVALS.map((key) => at(key, ratio)),
  }));
  const count = compared[0]?.ours.length ?? 0;
  if (count === 0) return undefined;
  const statistic = (texts: Uint32Array) => {
    const wins = compared.flatMap(({ ours, others }) => {
      const groups = Map.groupBy(texts, (text) => ours[text]!.group);
      return [...groups.values()].map((members) => {
        const score = (cells: readonly PolicyCell[]) =>
          mean(members.map((text) => measureOf(cells[text]!, "same")));
        return others.every((cells) => score(ours) > score(cells)) ? 1 : 0;
      });
    });
    return 100 * mean(wins);
  };
  return decoded.resampled(count, statistic);
}
