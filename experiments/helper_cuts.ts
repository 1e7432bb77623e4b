/**
 * SmallKV with a cheaper helper: what Tables 5 and 6 share.
 *
 * @module
 */

import { HAS_HELPER_CUTS, type HelperCut } from "../decoding/policy_setting.ts";
import type { ResultTable, SummaryInput } from "./experiment.ts";
import { type PointCells, pointCells, type PolicyCell, type PolicyPoint } from "./policy_runs.ts";
import { qualityTable, VARIANT_NAMES } from "./policy_tables.ts";
import { settingOf } from "./policy_variants.ts";

/** Names of points with a cheaper helper. */
export type CutNames = Readonly<
  Record<string, { readonly label: string; readonly helperShare: number }>
>;

/**
 * Lists SmallKV with cheaper helpers.
 *
 * @param cuts What is cut, with a name each.
 * @param ratio Budget of the large model.
 * @returns Points; none while sessions cannot cut the helper.
 */
export function helperPoints(
  cuts: readonly { readonly key: string; readonly cut: HelperCut }[],
  ratio: number,
): PolicyPoint[] {
  if (!HAS_HELPER_CUTS) return [];
  return cuts.map(({ key, cut }) => ({
    key,
    ratio,
    setting: { ...settingOf("smallkv", ratio), ...cut },
    hasHelper: true,
  }));
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
 * @param options Name of the experiment, names of the points and how much of the helper's cache each has.
 * @returns Cells and table.
 */
export function helperSummary(
  input: SummaryInput,
  options: { readonly name: string; readonly names: CutNames },
): HelperSummary {
  const points = pointCells(input.units);
  const cells = (wanted: string) =>
    points.find(({ key, ratio }) => `${key}/${ratio}` === wanted)?.cells ?? [];
  const parts = points.map((point) => pointTable(point, { ...options, input }));
  if (parts.length === 0) return { cells, tables: [] };
  return { cells, tables: [{ ...parts[0]!, rows: parts.flatMap(({ rows }) => rows) }] };
}

/** A table of one point; the helper's bytes are those of its cut. */
function pointTable(
  point: PointCells,
  { input, name, names }: {
    readonly input: SummaryInput;
    readonly name: string;
    readonly names: CutNames;
  },
): ResultTable {
  const cut = names[point.key];
  const { small, seed } = input;
  const layers = small.layers * (cut?.helperShare ?? 1);
  const own = cut && { [point.key]: { label: cut.label, helper: "small" as const } };
  return qualityTable([point], { ...input, small: { ...small, layers } }, {
    seed,
    label: name,
    name: `${name}_helpers`,
    title: "SmallKV with cheaper helpers, and H2O",
    names: { ...VARIANT_NAMES, ...own },
  });
}
