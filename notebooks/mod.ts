/**
 * What notebooks need: figures, tables and progress in cells, the pair they work with, and views of
 * attention.
 *
 * Everything also works outside of notebooks, where it writes text.
 *
 * @example
 * ```ts ignore
 * import { fig1c } from "@smallkv/lab/experiments";
 * import { measure, openLab, showClaims, showFigures } from "@smallkv/lab/notebook";
 *
 * const lab = await openLab();
 * const result = await measure(lab, fig1c);
 * await showFigures(result);
 * await showClaims(result);
 * ```
 * @module
 */

export * from "./cache_figure.ts";
export * from "./compare_policies.ts";
export * from "./conclude.ts";
export * from "./cost.ts";
export * from "./decode_shift.ts";
export * from "./drop_timeline.ts";
export * from "./evaluate_tasks.ts";
export * from "./greedy.ts";
export * from "./lab.ts";
export * from "./lab_heads.ts";
export * from "./match_table.ts";
export * from "./measure.ts";
export * from "./missed.ts";
export * from "./output.ts";
export * from "./passage.ts";
export * from "./progress_bar.ts";
export * from "./show.ts";
export * from "./side_by_side.ts";
export * from "./stop_after.ts";
export * from "./table.ts";
export * from "./views/attention_view.tsx";
export * from "./views/heads_view.tsx";
export * from "./views/labels.ts";
export type { ViewOptions } from "./views/named_view.ts";
export * from "./views/policies_view.tsx";
export * from "./views/slider_view.ts";
export * from "./views/text_view.tsx";
export * from "./views/tier_view.tsx";

export type { HeadPlace } from "../analysis/attention_map.ts";
export { TIER, TIER_NAMES, type TierName } from "../cache/token_tier.ts";
export type { HeadComparison, Similarities } from "../decoding/scoring/compare_heads.ts";
export type { SimilarityMeasure } from "../views/head_grid.tsx";
export type { BytesView } from "../views/policy_card.tsx";
export type { ExperimentModel } from "../experiments/experiment.ts";
export type { PlotlyFigure } from "../experiments/figures/plotly_figure.ts";
export type { FigureImages } from "../experiments/figures/static_images.ts";
export type {
  ClaimRecord,
  Environment,
  ModelRecord,
  ReportedResult,
  ResultRecord,
} from "../experiments/runner/record.ts";
export type { Verdict } from "../experiments/runner/verdict.ts";
