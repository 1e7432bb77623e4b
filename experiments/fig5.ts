/**
 * Fig. 5: quality against budget for H2O, PyramidInfer and SmallKV.
 *
 * @module
 */

import type { Interval } from "../core/bootstrap.ts";
import { mean } from "../core/stats.ts";
import { absoluteOf, trendOf } from "./claims.ts";
import type { Decoded } from "./decoded/decoded.ts";
import { policyExperiment } from "./decoded/policy_experiment.ts";
import { type PolicyCell, variantPoints } from "./decoded/policy_runs.ts";
import { measureOf, steppedCells } from "./decoded/policy_stats.ts";
import type { VariantKey } from "./decoded/policy_variants.ts";
import type { Experiment, ExperimentContext } from "./experiment.ts";
import { percent } from "./result.ts";

const RIVALS = ["h2o", "pyramid"] as const satisfies readonly VariantKey[];

/** Fig. 5. */
export const fig5: Experiment = policyExperiment({
  name: "fig5",
  module: import.meta.url,
  title: "Quality against budget",
  question: "How does quality fall with the budget under H2O, PyramidInfer and SmallKV?",
  source: "Fig. 5, Fig. 2",
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
