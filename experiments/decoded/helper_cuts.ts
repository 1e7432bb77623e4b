/**
 * SmallKV with a cheaper helper: what Tables 5 and 6 share.
 *
 * @module
 */

import type { HelperCut } from "../../decoding/scoring/small_model.ts";
import type { Figure, ModelShape, ResultTable, Series, SummaryInput } from "../experiment.ts";
import { type PointCells, pointCells, type PolicyCell, type PolicyPoint } from "./policy_runs.ts";
import { meanOfTexts, percent, type StatOptions } from "./policy_stats.ts";
import { qualityTable, VARIANT_NAMES } from "./policy_tables.ts";
import { settingOf } from "./policy_variants.ts";

/** A cheaper helper. */
export interface NamedCut {
  /** Name in units, without slashes. */
  readonly key: string;
  /** Name in tables. */
  readonly label: string;
  /** What is cut. */
  readonly cut: HelperCut & { readonly helperBudget?: { readonly ratio: number } };
}

/**
 * Lists SmallKV with cheaper helpers.
 *
 * @param cuts The helpers.
 * @param ratio Budget of the large model.
 * @returns Points.
 */
export function helperPoints(cuts: readonly NamedCut[], ratio: number): PolicyPoint[] {
  return cuts.map(({ key, cut }) => ({
    key,
    ratio,
    setting: { ...settingOf("smallkv", ratio), ...cut },
    hasHelper: true,
  }));
}

/**
 * Counts what remains of a helper's cache.
 *
 * @param cut What is cut.
 * @param small The whole helper.
 * @returns Share of its layers times share of its tokens.
 */
export function cutShare(
  { helperBudget, helperLayers }: NamedCut["cut"],
  small: Pick<ModelShape, "layers">,
): number {
  return (helperBudget?.ratio ?? 1) * (helperLayers ?? small.layers) / small.layers;
}

/** Cells and table of an experiment on helpers. */
export interface HelperSummary {
  /** Cells of a point, by "name/budget". */
  readonly cells: (point: string) => readonly PolicyCell[];
  /** All points; no table if nothing was decoded. */
  readonly tables: readonly ResultTable[];
}

/**
 * Gathers what was decoded with cheaper helpers.
 *
 * @param input Units, models, seed.
 * @param options Name of the experiment, its helpers.
 * @returns Cells and table.
 */
export function helperSummary(
  input: SummaryInput,
  options: { readonly name: string; readonly cuts: readonly NamedCut[] },
): HelperSummary {
  const points = pointCells(input.units);
  const cells = (wanted: string) =>
    points.find(({ key, ratio }) => `${key}/${ratio}` === wanted)?.cells ?? [];
  const parts = points.map((point) => pointTable(point, { ...options, input }));
  if (parts.length === 0) return { cells, tables: [] };
  return { cells, tables: [{ ...parts[0]!, rows: parts.flatMap(({ rows }) => rows) }] };
}

/** What a curve over helpers shows. */
export interface HelperCurve extends StatOptions {
  /** File stem. */
  readonly name: string;
  /** Heading. */
  readonly title: string;
  /** Title of the horizontal axis. */
  readonly xTitle: string;
  /** Cells of each helper and its share in percent, the whole one last. */
  readonly points: readonly { readonly share: number; readonly cells: readonly PolicyCell[] }[];
  /** Cells of H2O at the same budget. */
  readonly rival: readonly PolicyCell[];
}

/**
 * Draws agreement with the full cache against what remains of the helper, H2O beside it.
 *
 * @param curve Cells and headings.
 * @returns The figure; none if no helper was measured.
 */
export function helperFigures(curve: HelperCurve): Figure[] {
  const { name, title, xTitle, points, rival } = curve;
  const shares = points.map(({ share }) => share);
  const levels = [Math.min(...shares), Math.max(...shares)];
  const series = [
    lineOf("SmallKV", points, curve),
    lineOf("H2O, no helper", levels.map((share) => ({ share, cells: rival })), curve),
  ].filter(({ x }) => x.length > 0);
  const yTitle = "steps with the full cache's choice (%)";
  return series.length === 0
    ? []
    : [{ name, title, kind: "line", xTitle, yTitle, series, paper: [] }];
}

function lineOf(label: string, points: HelperCurve["points"], options: StatOptions): Series {
  const known = points.flatMap(({ share, cells }) => {
    const interval = percent(meanOfTexts(cells, "same", options));
    return interval ? [{ share, ...interval }] : [];
  });
  return {
    label,
    x: known.map(({ share }) => share),
    y: known.map(({ value }) => value),
    low: known.map(({ low }) => low),
    high: known.map(({ high }) => high),
  };
}

/** A table of one point; the helper's bytes are those that its cut leaves. */
function pointTable(
  point: PointCells,
  { input, name, cuts }: {
    readonly input: SummaryInput;
    readonly name: string;
    readonly cuts: readonly NamedCut[];
  },
): ResultTable {
  const own = cuts.find(({ key }) => key === point.key);
  const { small, seed } = input;
  const layers = small.layers * cutShare(own?.cut ?? {}, small);
  const named = own && { [point.key]: { label: own.label, helper: "small" as const } };
  return qualityTable([point], { ...input, small: { ...small, layers } }, {
    seed,
    label: name,
    name: `${name}_helpers`,
    title: "SmallKV with cheaper helpers, and H2O",
    names: { ...VARIANT_NAMES, ...named },
  });
}
