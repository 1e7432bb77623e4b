/**
 * Plotly's own check of figures, without a browser.
 *
 * @module
 */

import { plotlySource } from "../../experiments/figures/static_images.ts";
import type { PlotlyFigure } from "../../experiments/figures/plotly_figure.ts";

/** What Plotly objects to. */
export interface PlotlyFault {
  /** Kind of fault, for example `schema`. */
  readonly code: string;
  /** Path of the attribute. */
  readonly astr: string;
}

interface PlotlyModule {
  validate(data: unknown, layout: unknown): PlotlyFault[] | undefined;
}

/** Answers every access with itself or nothing; Plotly makes many while it loads, but none in its check. */
const PAGE: unknown = new Proxy(function () {}, {
  get(_, key) {
    if (key === Symbol.toPrimitive) return () => "";
    if (key === Symbol.iterator) return function* () {};
    return key === "length" ? 0 : PAGE;
  },
  apply: () => PAGE,
  construct: () => PAGE as object,
});

/** What Plotly expects a page to define. */
const PAGE_NAMES = ["window", "document", "self", "DOMParser", "getComputedStyle"];

/**
 * Loads Plotly with a stand-in for the page that it expects.
 *
 * @returns Checks a figure against the schema; faults, none if all is right.
 */
export async function plotlyValidator(): Promise<
  (figure: PlotlyFigure) => readonly PlotlyFault[]
> {
  const module = { exports: {} };
  const run = new Function("module", "exports", ...PAGE_NAMES, await plotlySource());
  run(module, module.exports, ...PAGE_NAMES.map(() => PAGE));
  const plotly = module.exports as PlotlyModule;
  // A layout with a size does not have the page measured.
  return ({ data, layout }) => plotly.validate(data, { width: 720, height: 400, ...layout }) ?? [];
}
