/**
 * What an experiment decoded under policies: its numbers, tables and curves.
 *
 * @module
 */

import { type Interval, meanInterval } from "../../core/bootstrap.ts";
import { mean } from "../../core/stats.ts";
import type { Figure, ResultTable, SummaryInput } from "../experiment.ts";
import { ends, lineOf } from "../result.ts";
import { seeded } from "../similarity.ts";
import { type PointCells, pointCells, type PolicyCell } from "./policy_runs.ts";
import {
  entryBytes,
  meanDifference,
  meanOfTexts,
  meanRatio,
  type Measure,
  measureOf,
  medianKl,
  type MemoryShares,
  memoryShares,
  type StatOptions,
  steppedCells,
  wilsonInterval,
} from "./policy_stats.ts";
import { type VariantKey, variantKeys, variantOf } from "./policy_variants.ts";

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

const COLUMNS = [
  "policy",
  "budget (%)",
  "KL mean (nats)",
  "low",
  "high",
  "KL median",
  "same choice (%)",
  "low",
  "high",
  "exact (%)",
  "low",
  "high",
  "cache seen (%)",
  "with small model's cache (%)",
  "with cache and weights (%)",
  "churn (%)",
  "loaded per step (KiB)",
  "texts",
];

/** Titles of axes. */
const TITLES = {
  kl: "divergence from the full cache (nats a token)",
  same: "steps with the full cache's choice (%)",
  exact: "answers right to the last token (%)",
  budget: "budget (% of the full cache)",
  memory: "cache of both models (% of the large model's full cache)",
} as const;

/** Policies compared on the same texts: a positive difference speaks for the second. */
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

/** Whose cache may be as large as that of a policy with its small model. */
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

/** Points of an experiment with the models and the seed behind them. */
export class Decoded {
  /** What was decoded, in the order in which points first occur. */
  readonly points: readonly PointCells[];
  readonly #input: SummaryInput;
  readonly #names: PointNames;
  readonly #options: StatOptions;

  /** Intervals of different labels are independent; those of one label stay paired. */
  constructor(input: SummaryInput, label: string, names: PointNames = VARIANT_NAMES) {
    this.points = pointCells(input.units);
    this.#input = input;
    this.#names = names;
    this.#options = { seed: input.seed, label };
  }

  /** Cells of a point at budgets; none where it was not run. */
  cells(key: string, ...ratios: number[]): PolicyCell[] {
    return ratios.flatMap((ratio) => [
      ...this.points.find((point) => point.key === key && point.ratio === ratio)?.cells ?? [],
    ]);
  }

  /** Cells of a point at all its budgets. */
  allCells(key: string): PolicyCell[] {
    return this.points.filter((point) => point.key === key).flatMap(({ cells }) => cells);
  }

  /** Mean over texts. */
  mean(cells: readonly PolicyCell[], measure: Measure): Interval | undefined {
    return meanOfTexts(cells, measure, this.#options);
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
    return values.length === 0 ? undefined : meanInterval(values, seeded(this.#options));
  }

  /** Divergence, agreement, whole answers, memory counted in three ways, churn, bytes loaded: one row per point. */
  table(name: string, title: string): ResultTable {
    const rows = this.points.flatMap(({ key, ratio, cells }) => {
      const own = steppedCells(cells);
      if (own.length === 0) return [];
      const { cache, withSmallModel, withWeights } = this.#memory(key, own);
      const churn = mean(own.map((cell) => cell.churn));
      const halfBytes = entryBytes(this.#input.large) / 2;
      return [[
        this.#names[key]!.label,
        100 * ratio,
        ...ends(this.mean(own, "kl")!),
        medianKl(own, this.#options)!.value,
        ...ends(this.mean(own, "same")!, 100),
        ...ends(exactShare(own), 100),
        ...[cache, withSmallModel, withWeights, churn].map((share) => 100 * share),
        mean(own.map((cell) => cell.loaded)) * halfBytes / 1024,
        own.length,
      ]];
    });
    return { name, title, columns: COLUMNS, rows };
  }

  /** A measure against budget or memory, one line per policy. */
  curves(measure: Measure, name: string, title: string, options: CurveOptions = {}): Figure {
    const { points = this.points, group, by = "budget" } = options;
    const keys = [...new Set(points.map(({ key }) => key))].filter((key) => key !== "full");
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
      series: series.filter(({ x }) => x.length > 0),
      paper: [],
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
        const row = [`${name} minus ${other}`, 100 * ratio, ...ends(difference)];
        return [[...row, won.length, difference.n]];
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
      return [[
        VARIANT_NAMES[key].label,
        100 * ratio,
        100 * withSmallModel,
        this.mean(own, "kl")!.value,
        100 * rival.ratio,
        100 * rival.total,
        this.mean(rival.cells, "kl")!.value,
        ...ends(this.difference(rival.cells, cells, "kl")!),
      ]];
    });
    if (rows.length === 0) return [];
    return [{
      name: "kl_equal_memory",
      title:
        "Equal total memory: H2O at the largest measured budget that fits cache and small model's cache",
      columns: [
        "policy",
        "budget (%)",
        "with small model's cache (%)",
        "KL mean (nats)",
        "budget of H2O (%)",
        "cache seen by H2O (%)",
        "KL of H2O",
        "H2O minus policy",
        "low",
        "high",
      ],
      rows,
    }];
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
