/**
 * Tables and curves of quality experiments.
 *
 * @module
 */

import type { Interval } from "../../core/bootstrap.ts";
import { mean } from "../../core/stats.ts";
import type { Figure, ModelShape, ResultTable, Series, SummaryInput } from "../experiment.ts";
import type { PointCells, PolicyCell } from "./policy_runs.ts";
import {
  entryBytes,
  meanDifference,
  meanOfTexts,
  type Measure,
  medianKl,
  memoryShares,
  type StatOptions,
  steppedCells,
  wilsonInterval,
} from "./policy_stats.ts";
import { type VariantKey, variantKeys, variantOf } from "./policy_variants.ts";

/** Names and helpers of points that are no variants. */
export type PointNames = Readonly<
  Record<string, { readonly label: string; readonly helper?: "small" | "other" }>
>;

/** How a table or figure is made. */
export interface QualityOptions extends StatOptions {
  /** File stem. */
  readonly name: string;
  /** Heading. */
  readonly title: string;
  /** Names of points; those of the variants if left out. */
  readonly names?: PointNames;
}

/** The variants, as points. */
export const VARIANT_NAMES: PointNames = Object.fromEntries(
  variantKeys().map((key) => {
    const { label, hasHelper } = variantOf(key);
    return [key, { label, ...(hasHelper && { helper: "small" as const }) }];
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
  "with helper's cache (%)",
  "with cache and weights (%)",
  "churn (%)",
  "loaded per step (KiB)",
  "texts",
];

/**
 * Tabulates points: divergence, agreement, whole answers, memory counted in three ways, churn, bytes loaded.
 *
 * @param points What was decoded.
 * @param input Models and seed.
 * @param options File stem, heading, label of the intervals.
 * @returns One row per point.
 */
export function qualityTable(
  points: readonly PointCells[],
  input: SummaryInput,
  options: QualityOptions,
): ResultTable {
  const { name, title, names = VARIANT_NAMES } = options;
  const rows = points.flatMap(({ key, ratio, cells }) => {
    const own = steppedCells(cells);
    if (own.length === 0) return [];
    const { label, helper } = names[key]!;
    return [[label, 100 * ratio, ...qualityCells(own, options), ...costCells(own, input, helper)]];
  });
  return { name, title, columns: COLUMNS, rows };
}

function qualityCells(cells: readonly PolicyCell[], options: StatOptions): number[] {
  const exact = wilsonInterval(cells.filter((cell) => cell.exact === 1).length, cells.length);
  return [
    ...ends(meanOfTexts(cells, "kl", options)!),
    medianKl(cells, options)!.value,
    ...ends(meanOfTexts(cells, "same", options)!, 100),
    ...ends(exact, 100),
  ];
}

function costCells(
  cells: readonly PolicyCell[],
  input: SummaryInput,
  helper: "small" | "other" | undefined,
): number[] {
  const own = helper && input[helper];
  const { large } = input;
  const memory = memoryShares(cells, { large, ...(own && { helper: own }) });
  const churn = mean(cells.map((cell) => cell.churn));
  const loaded = mean(cells.map((cell) => cell.loaded)) * halfBytes(large) / 1024;
  const { cache, withHelper, withWeights } = memory;
  return [...[cache, withHelper, withWeights, churn].map((share) => 100 * share), loaded]
    .concat(cells.length);
}

/** Bytes of a half-entry of every selection together. */
function halfBytes(shape: ModelShape): number {
  return entryBytes(shape) / 2;
}

function ends({ value, low, high }: Interval, scale = 1): number[] {
  return [scale * value, scale * low, scale * high];
}

/** Titles of the vertical axis. */
const MEASURE_TITLES: Readonly<Record<Measure, string>> = {
  kl: "divergence from the full cache (nats a token)",
  same: "steps with the full cache's choice (%)",
  exact: "answers right to the last token (%)",
};

/**
 * Draws a measure against the budget, one line per policy.
 *
 * @param points What was decoded; points at a single budget are left out.
 * @param measure What is drawn.
 * @param options File stem, heading, label of the intervals; `group` draws the texts of one group only.
 * @returns The figure.
 */
export function budgetFigure(
  points: readonly PointCells[],
  measure: Measure,
  options: QualityOptions & { readonly group?: string },
): Figure {
  const { name, title, names = VARIANT_NAMES, group } = options;
  const keys = [...new Set(points.map(({ key }) => key))].filter((key) => key !== "full");
  const series = keys.map((key): Series => {
    const own = points.filter((point) => point.key === key);
    const intervals = own.flatMap(({ ratio, cells }) => {
      const chosen = cells.filter((cell) => group === undefined || cell.group === group);
      const interval = intervalOf(chosen, measure, options);
      return interval === undefined ? [] : [{ ratio, interval }];
    });
    return lineOf(names[key]!.label, intervals, measure === "kl" ? 1 : 100);
  });
  return {
    name,
    title,
    kind: "line",
    xTitle: "budget (% of the full cache)",
    yTitle: MEASURE_TITLES[measure],
    series: series.filter(({ x }) => x.length > 0),
    paper: [],
  };
}

function intervalOf(
  cells: readonly PolicyCell[],
  measure: Measure,
  options: StatOptions,
): Interval | undefined {
  const own = steppedCells(cells);
  if (measure !== "exact" || own.length === 0) return meanOfTexts(own, measure, options);
  return wilsonInterval(own.filter(({ exact }) => exact === 1).length, own.length);
}

function lineOf(
  label: string,
  points: readonly { readonly ratio: number; readonly interval: Interval }[],
  scale: number,
): Series {
  const read = (part: "value" | "low" | "high") =>
    points.map(({ interval }) => scale * interval[part]);
  return {
    label,
    x: points.map(({ ratio }) => 100 * ratio),
    y: read("value"),
    low: read("low"),
    high: read("high"),
  };
}

/**
 * Draws divergence against all the cache that a policy needs, its helper's included.
 *
 * @param points What was decoded.
 * @param input Models.
 * @param options File stem, heading, label of the intervals.
 * @returns The figure.
 */
export function memoryFigure(
  points: readonly PointCells[],
  input: SummaryInput,
  options: QualityOptions,
): Figure {
  const { name, title, names = VARIANT_NAMES } = options;
  const keys = [...new Set(points.map(({ key }) => key))].filter((key) => key !== "full");
  const series = keys.map((key): Series => {
    const { label, helper } = names[key]!;
    const model = helper && input[helper];
    const own = points.filter((point) => point.key === key).flatMap(({ cells }) => {
      const stepped = steppedCells(cells);
      if (stepped.length === 0) return [];
      const shape = { large: input.large, ...(model && { helper: model }) };
      const ratio = memoryShares(stepped, shape).withHelper;
      return [{ ratio, interval: meanOfTexts(stepped, "kl", options)! }];
    });
    return lineOf(label, own, 1);
  });
  return {
    name,
    title,
    kind: "line",
    xTitle: "cache of both models (% of the large model's full cache)",
    yTitle: MEASURE_TITLES.kl,
    series: series.filter(({ x }) => x.length > 0),
    paper: [],
  };
}

/** Whose cache may be as large as that of a policy with its helper. */
const RIVAL = "h2o" satisfies VariantKey;

/**
 * Compares policies that have a helper with H2O where H2O may use as much memory for its cache as they use for both.
 *
 * @param points What was decoded.
 * @param input Models and seed.
 * @param options Label of the intervals.
 * @returns A table, or none if H2O was not decoded.
 */
export function equalMemoryTable(
  points: readonly PointCells[],
  input: SummaryInput,
  options: StatOptions,
): ResultTable[] {
  const { large, small } = input;
  const rivals = points.filter(({ key, cells }) => key === RIVAL && steppedCells(cells).length > 0)
    .map((point) => ({
      ...point,
      total: memoryShares(steppedCells(point.cells), { large }).cache,
    }));
  const rows = points.flatMap(({ key, ratio, cells }) => {
    const own = steppedCells(cells);
    if (VARIANT_NAMES[key]?.helper === undefined || own.length === 0) return [];
    const { withHelper } = memoryShares(own, { large, helper: small });
    const rival = rivals.filter(({ total }) => total <= withHelper)
      .reduce<typeof rivals[number] | undefined>(
        (best, point) => best && best.total > point.total ? best : point,
        undefined,
      );
    if (!rival) return [];
    const difference = meanDifference(rival.cells, cells, { ...options, measure: "kl" })!;
    return [[
      VARIANT_NAMES[key].label,
      100 * ratio,
      100 * withHelper,
      meanOfTexts(own, "kl", options)!.value,
      100 * rival.ratio,
      100 * rival.total,
      meanOfTexts(rival.cells, "kl", options)!.value,
      ...ends(difference),
    ]];
  });
  if (rows.length === 0) return [];
  return [{
    name: "kl_equal_memory",
    title:
      "Equal total memory: H2O at the largest measured budget that fits cache and helper's cache",
    columns: [
      "policy",
      "budget (%)",
      "with helper's cache (%)",
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
