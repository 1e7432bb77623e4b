/**
 * SmallKV with a cheaper small model: what Tables 5 and 6 share.
 *
 * @module
 */

import type { SmallModelCut } from "../../decoding/scoring/small_model.ts";
import { absoluteOf } from "../claims.ts";
import type { Claim, Figure, ModelShape, ResultTable, Series } from "../experiment.ts";
import { lineOf, percent } from "../result.ts";
import { type Decoded, type PointNames, VARIANT_NAMES } from "./decoded.ts";
import type { PolicyCell, PolicyPoint } from "./policy_runs.ts";
import { settingOf } from "../../evaluation/policy_variants.ts";

/** A cheaper small model. */
export interface NamedCut {
  /** Name in units, without slashes. */
  readonly key: string;
  /** Name in tables. */
  readonly label: string;
  /** What is cut. */
  readonly cut: SmallModelCut & { readonly smallBudget?: { readonly ratio: number } };
}

/**
 * Lists SmallKV with cheaper small models.
 *
 * @param cuts The small models.
 * @param ratio Budget of the large model.
 * @returns Points.
 */
export function smallModelPoints(cuts: readonly NamedCut[], ratio: number): PolicyPoint[] {
  return cuts.map(({ key, cut }) => ({
    key,
    ratio,
    setting: { ...settingOf("smallkv", ratio), ...cut },
    hasSmallModel: true,
  }));
}

/**
 * Makes the claim about a row of Table 5 or 6.
 *
 * @param id "C42" or "C45".
 * @param share The paper's score over that with the whole small model.
 * @param statement What is compared.
 */
export function cutScoreClaim(id: string, share: number, statement: string): Claim {
  return absoluteOf(id, {
    paper: Math.round(1000 * share) / 1000,
    statement,
    note: "The paper's score is accuracy on BBH, ours agreement with the full cache.",
  });
}

/**
 * Counts what remains of a small model's cache.
 *
 * @param cut What is cut.
 * @param small The whole small model.
 * @returns Share of its layers times share of its tokens.
 */
export function cutShare(
  { smallBudget, smallLayers }: NamedCut["cut"],
  small: Pick<ModelShape, "layers">,
): number {
  return (smallBudget?.ratio ?? 1) * (smallLayers ?? small.layers) / small.layers;
}

/**
 * Names the points of cheaper small models along with the variants.
 *
 * @param cuts The small models.
 * @param small The whole small model.
 * @returns Names.
 */
export function cutNames(
  cuts: readonly NamedCut[],
  small: Pick<ModelShape, "layers">,
): PointNames {
  const names = cuts.map(({ key, label, cut }) =>
    [key, { label, smallModel: "small" as const, share: cutShare(cut, small) }] as const
  );
  return { ...VARIANT_NAMES, ...Object.fromEntries(names) };
}

/**
 * Tabulates what was decoded.
 *
 * @param decoded Points.
 * @param name Name of the experiment.
 * @returns A table; none if nothing was decoded.
 */
export function smallTables(decoded: Decoded, name: string): ResultTable[] {
  const title = "SmallKV with cheaper small models, and H2O";
  return decoded.points.length === 0 ? [] : [decoded.table(`${name}_helpers`, title)];
}

/** What a curve over small models shows. */
export interface SmallModelCurve extends Pick<Figure, "name" | "title" | "xTitle"> {
  /** Cells of each small model and its share in percent, the whole one last. */
  readonly points: readonly { readonly share: number; readonly cells: readonly PolicyCell[] }[];
  /** Cells of H2O at the same budget. */
  readonly rival: readonly PolicyCell[];
}

/**
 * Draws agreement with the full cache against what remains of the small model, with H2O for comparison.
 *
 * @param decoded Points.
 * @param curve Cells and headings.
 * @returns The figure; none if no small model was measured.
 */
export function smallModelFigures(decoded: Decoded, curve: SmallModelCurve): Figure[] {
  const { points, rival, ...headings } = curve;
  const line = (label: string, own: SmallModelCurve["points"]): Series => {
    const known = own.flatMap(({ share, cells }) => {
      const interval = percent(decoded.mean(cells, "same"));
      return interval ? [{ share, interval }] : [];
    });
    return lineOf(label, known.map(({ share }) => share), known.map(({ interval }) => interval));
  };
  const shares = points.map(({ share }) => share);
  const levels = [Math.min(...shares), Math.max(...shares)];
  const series = [
    line("SmallKV", points),
    line("H2O, no small model", levels.map((share) => ({ share, cells: rival }))),
  ].filter(({ x }) => x.length > 0);
  const yTitle = "steps with the full cache's choice (%)";
  return series.length === 0 ? [] : [{ ...headings, kind: "line", yTitle, series, paper: [] }];
}
