/**
 * Policies compared two by two on the same texts.
 *
 * @module
 */

import type { ResultTable } from "../experiment.ts";
import { cellsOf, type PointCells } from "./policy_runs.ts";
import { meanDifference, measureOf, type StatOptions, steppedCells } from "./policy_stats.ts";
import { VARIANT_NAMES } from "./policy_tables.ts";
import type { VariantKey } from "./policy_variants.ts";

/** What is compared: a positive difference speaks for the second. */
const PAIRS: readonly (readonly [first: VariantKey, second: VariantKey])[] = [
  ["h2o", "smallkv"],
  ["withoutHelper", "smallkv"],
  ["withoutMarginal", "smallkv"],
  ["smallkv", "smallkvRows"],
  ["h2o", "smallkvRows"],
  ["h2oRows", "smallkvRows"],
  ["h2o", "queryAware"],
  ["tova", "queryAware"],
  ["smallkv", "queryAware"],
  ["decayed", "queryAware"],
  ["queryAware", "row"],
];

/**
 * Tabulates differences of mean divergence, paired over texts.
 *
 * @param points What was decoded.
 * @param options Seed and label of the intervals.
 * @returns A table, or none if no pair was decoded.
 */
export function pairTable(points: readonly PointCells[], options: StatOptions): ResultTable[] {
  const ratios = [...new Set(points.map(({ ratio }) => ratio))];
  const rows = PAIRS.flatMap(([first, second]) =>
    ratios.flatMap((ratio) => {
      const [worse, better] = [first, second].map((key) =>
        steppedCells(cellsOf(points, key, ratio))
      );
      const difference = meanDifference(worse!, better!, { ...options, measure: "kl" });
      if (!difference) return [];
      const own = new Map(better!.map((cell) => [cell.id, measureOf(cell, "kl")]));
      const won = worse!.filter((cell) => measureOf(cell, "kl") > (own.get(cell.id) ?? Infinity));
      const [name, other] = [first, second].map((key) => VARIANT_NAMES[key]!.label);
      const { value, low, high, n } = difference;
      return [[`${name} minus ${other}`, 100 * ratio, value, low, high, won.length, n]];
    })
  );
  if (rows.length === 0) return [];
  return [{
    name: "kl_pairs",
    title: "Differences on the same texts",
    columns: ["divergence of", "budget (%)", "nats", "low", "high", "texts won", "texts"],
    rows,
  }];
}
