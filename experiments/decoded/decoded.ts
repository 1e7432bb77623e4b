/**
 * What an experiment decoded under policies: its numbers, tables and curves.
 *
 * @module
 */

import { bootstrapInterval, type Interval } from "../../core/bootstrap.ts";
import { mean } from "../../core/stats.ts";
import type { Figure, ResultTable, SummaryInput } from "../experiment.ts";
import { lineOf, percent, tableOf } from "../result.ts";
import { measuredMean, seeded } from "../similarity.ts";
import { wilsonInterval } from "../../analysis/score_intervals.ts";
import { type PointCells, pointCells, type PolicyCell } from "./policy_runs.ts";
import {
  entryBytes,
  meanDifference,
  meanRatio,
  type Measure,
  measureOf,
  medianKl,
  type MemoryShares,
  memoryShares,
  type StatOptions,
  steppedCells,
} from "./policy_stats.ts";
import { type VariantKey, variantKeys, variantOf } from "../../evaluation/policy_variants.ts";

/** Names of points in tables, their small model, and the share of its cache that is left. */
export type PointNames = Readonly<
  Record<
    string,
    { readonly label: string; readonly smallModel?: "small" | "other"; readonly share?: number }
  >
>;

/** The variants, as points. */
export const VARIANT_NAMES: PointNames = Object.fromEntries(
  variantKeys().map((key) => {
    const { label, hasSmallModel } = variantOf(key);
    return [key, { label, ...(hasSmallModel && { smallModel: "small" as const }) }];
  }),
);

/** Titles of axes. */
const TITLES = {
  kl: "divergence from the full cache (nats a token)",
  same: "steps with the full cache's choice (%)",
  exact: "answers right to the last token (%)",
  budget: "budget (% of the full cache)",
  memory: "cache of both models (% of the large model's full cache)",
} as const;

/** Policies compared on the same texts: a positive difference favors the second. */
const PAIRS: readonly (readonly [first: VariantKey, second: VariantKey])[] = [
  ["h2o", "smallkv"],
  ["withoutSmallModel", "smallkv"],
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

/** The policy whose cache may be as large as that of another one with its small model. */
const RIVAL = "h2o" satisfies VariantKey;

/** What a curve shows. */
export interface CurveOptions {
  /** Points that are drawn; all if left out. */
  readonly points?: readonly PointCells[];
  /** Only texts of this group. */
  readonly group?: string;
  /** Horizontal axis: the budget, or all the cache that a policy needs with its small model; the former if left out. */
  readonly by?: "budget" | "memory";
}

/** Most curves that can be told apart in one figure. */
const MOST_CURVES = 6;

/** What is drawn where there are more: the baselines, and SmallKV with each way to rank. */
const MAIN_CURVES: readonly string[] = [
  "h2o",
  "pyramid",
  "tova",
  "smallkv",
  "smallkvRows",
  "queryAware",
];

/** Points of an experiment, with its models and its seed. */
export class Decoded {
  /** What was decoded, in the order in which points first occur. */
  readonly points: readonly PointCells[];
  readonly #input: SummaryInput;
  readonly #names: PointNames;
  readonly #options: StatOptions;

  /** Groups the cells of finished work units by point. */
  constructor(input: SummaryInput, names: PointNames = VARIANT_NAMES) {
    this.points = pointCells(input.units);
    this.#input = input;
    this.#names = names;
    this.#options = { seed: input.seed };
  }

  /** Cells of a point at some budgets, or at all if none is named; none where it was not run. */
  cells(key: string, ...ratios: number[]): PolicyCell[] {
    return this.points
      .filter((point) => point.key === key && (ratios.length === 0 || ratios.includes(point.ratio)))
      .flatMap(({ cells }) => cells);
  }

  /** Mean over texts. */
  mean(cells: readonly PolicyCell[], measure: Measure): Interval | undefined {
    return this.average(steppedCells(cells).map((cell) => measureOf(cell, measure)));
  }

  /** Mean of first - second over texts that both have. */
  difference(
    first: readonly PolicyCell[],
    second: readonly PolicyCell[],
    measure: Measure,
  ): Interval | undefined {
    return meanDifference(first, second, { ...this.#options, measure });
  }

  /** Mean of first over mean of second, on texts that both have. */
  ratio(
    first: readonly PolicyCell[],
    second: readonly PolicyCell[],
    measure: Measure,
  ): Interval | undefined {
    return meanRatio(first, second, { ...this.#options, measure });
  }

  /** Mean of one number per text. */
  average(values: readonly number[]): Interval | undefined {
    return measuredMean(values, this.#options);
  }

  /** Change of the share of steps with the full cache's choice from the second cells to the first, in percent. */
  gain(first: readonly PolicyCell[], second: readonly PolicyCell[]): Interval | undefined {
    return percent(this.difference(first, second, "same"));
  }

  /** A statistic over some texts, by their indices, with the percentiles of its resamples. */
  resampled(texts: number, statistic: (texts: Uint32Array) => number): Interval {
    return bootstrapInterval(texts, statistic, { ...seeded(this.#options), method: "percentile" });
  }

  /** Divergence, agreement, whole answers, memory counted in three ways, churn, bytes loaded: one row per point. */
  table(name: string, title: string): ResultTable {
    const halfBytes = entryBytes(this.#input.large) / 2;
    const rows = this.points.flatMap(({ key, ratio, cells }) => {
      const own = steppedCells(cells);
      if (own.length === 0) return [];
      const { cache, withSmallModel, withWeights } = this.#memory(key, own);
      return [{
        "policy": this.#names[key]!.label,
        "budget (%)": 100 * ratio,
        "KL mean (nats)": this.mean(own, "kl"),
        "KL median": medianKl(own, this.#options)!.value,
        "same choice (%)": percent(this.mean(own, "same")),
        "exact (%)": percent(exactShare(own)),
        "cache seen (%)": 100 * cache,
        "with small model's cache (%)": 100 * withSmallModel,
        "with cache and weights (%)": 100 * withWeights,
        "churn (%)": 100 * mean(own.map((cell) => cell.churn)),
        "loaded per step (KiB)": mean(own.map((cell) => cell.loaded)) * halfBytes / 1024,
        "texts": own.length,
      }];
    });
    return tableOf(name, title, rows);
  }

  /** A measure against budget or memory, one line per policy. */
  curves(measure: Measure, name: string, title: string, options: CurveOptions = {}): Figure {
    const { points = this.points, group, by = "budget" } = options;
    const all = [...new Set(points.map(({ key }) => key))].filter((key) => key !== "full");
    const keys = all.length <= MOST_CURVES ? all : MAIN_CURVES.filter((key) => all.includes(key));
    const series = keys.map((key) => {
      const known = points.filter((point) => point.key === key).flatMap(({ ratio, cells }) => {
        const own = steppedCells(cells).filter((cell) => (group ?? cell.group) === cell.group);
        if (own.length === 0) return [];
        const x = by === "memory" ? this.#memory(key, own).withSmallModel : ratio;
        const interval = measure === "exact" ? exactShare(own) : this.mean(own, measure)!;
        return [{ x: 100 * x, interval }];
      });
      const intervals = known.map(({ interval }) => interval);
      const scale = measure === "kl" ? 1 : 100;
      return lineOf(this.#names[key]!.label, known.map(({ x }) => x), intervals, scale);
    });
    return {
      name,
      title,
      kind: "line",
      xTitle: TITLES[by],
      yTitle: TITLES[measure],
      ...(measure === "kl" && { isLog: true }),
      series: series.filter(({ x }) => x.length > 0),
      paper: [],
      ...(keys.length < all.length && {
        choice: `${keys.length} of ${all.length} policies; the table has all.`,
      }),
    };
  }

  /** Differences of mean divergence, paired over texts; no table if no pair was decoded. */
  pairTable(): ResultTable[] {
    const ratios = [...new Set(this.points.map(({ ratio }) => ratio))];
    const rows = PAIRS.flatMap(([first, second]) =>
      ratios.flatMap((ratio) => {
        const [worse, better] = [first, second].map((key) => steppedCells(this.cells(key, ratio)));
        const difference = this.difference(worse!, better!, "kl");
        if (!difference) return [];
        const others = new Map(better!.map((cell) => [cell.id, measureOf(cell, "kl")]));
        const won = worse!.filter((cell) =>
          measureOf(cell, "kl") > (others.get(cell.id) ?? Infinity)
        );
        const [name, other] = [first, second].map((key) => VARIANT_NAMES[key]!.label);
        return [{
          "divergence of": `${name} minus ${other}`,
          "budget (%)": 100 * ratio,
          "nats": difference,
          "texts won": won.length,
          "texts": difference.n,
        }];
      })
    );
    return rows.length === 0 ? [] : [tableOf("kl_pairs", "Differences on the same texts", rows)];
  }

  /** Policies with a small model against H2O with as much memory as they use for both caches; no table without H2O. */
  equalMemoryTable(): ResultTable[] {
    const rivals = this.points
      .filter(({ key, cells }) => key === RIVAL && steppedCells(cells).length > 0)
      .map((point) => ({ ...point, total: this.#memory(RIVAL, steppedCells(point.cells)).cache }));
    const rows = this.points.flatMap(({ key, ratio, cells }) => {
      const own = steppedCells(cells);
      if (VARIANT_NAMES[key]?.smallModel === undefined || own.length === 0) return [];
      const { withSmallModel } = this.#memory(key, own);
      const rival = rivals.filter(({ total }) => total <= withSmallModel)
        .sort((a, b) => a.total - b.total).at(-1);
      if (!rival) return [];
      return [{
        "policy": VARIANT_NAMES[key].label,
        "budget (%)": 100 * ratio,
        "with small model's cache (%)": 100 * withSmallModel,
        "KL mean (nats)": this.mean(own, "kl")!.value,
        "budget of H2O (%)": 100 * rival.ratio,
        "cache seen by H2O (%)": 100 * rival.total,
        "KL of H2O": this.mean(rival.cells, "kl")!.value,
        "H2O minus policy": this.difference(rival.cells, cells, "kl"),
      }];
    });
    const title =
      "Equal total memory: H2O at the largest measured budget that fits cache and small model's cache";
    return rows.length === 0 ? [] : [tableOf("kl_equal_memory", title, rows)];
  }

  #memory(key: string, cells: readonly PolicyCell[]): MemoryShares {
    const { smallModel, share = 1 } = this.#names[key]!;
    const { large, ...others } = this.#input;
    const model = smallModel && others[smallModel];
    if (!model) return memoryShares(cells, { large });
    return memoryShares(cells, { large, smallModel: { ...model, layers: model.layers * share } });
  }
}

/**
 * Counts whole answers.
 *
 * @param cells At least one text.
 * @returns Share with Wilson's interval.
 */
export function exactShare(cells: readonly PolicyCell[]): Interval {
  return wilsonInterval(cells.filter(({ exact }) => exact === 1).length, cells.length);
}
