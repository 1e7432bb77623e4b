/**
 * Figures in cells.
 *
 * @module
 */

import { writeFileAtomic } from "../core/atomic_file.ts";
import type { Figure } from "../experiments/result.ts";
import { figureCaption } from "../experiments/figures/caption.ts";
import { figureHeight, type PlotlyFigure } from "../experiments/figures/plotly_figure.ts";
import { findChromium, startChromium } from "../experiments/figures/chromium.ts";
import { drawFigures, type FigureImages } from "../experiments/figures/static_images.ts";
import type { ReportedResult } from "../experiments/runner/record.ts";
import { type Bundle, flush, publish } from "./output.ts";
import { type NamedPlot, namedPlot } from "./views/named_plot.ts";

export type { NamedPlot };

/** How a figure is shown. */
export interface ShowOptions {
  /** Sentences below it: models, n, what intervals are. */
  readonly caption?: string;
}

/**
 * Shows a figure: interactive where the front end has Plotly. Where a Chromium is found, its picture is shown
 * to other front ends, and an SVG of it goes to `figures/` of the working folder.
 *
 * @param figure A figure of an experiment, or one of the views.
 * @param options Caption.
 */
export async function show(figure: Figure | NamedPlot, options: ShowOptions = {}): Promise<void> {
  await showAll(["plot" in figure ? figure : namedPlot(figure, options.caption)]);
}

/**
 * Shows all figures of a result, with captions.
 *
 * @param record The result.
 * @param names Which figures, by name; all if left out.
 */
export async function showFigures(
  record: ReportedResult,
  names?: readonly string[],
): Promise<void> {
  const chosen = record.figures.filter(({ name }) => names?.includes(name) ?? true);
  await showAll(chosen.map((figure) => namedPlot(figure, figureCaption(figure, record))));
}

async function showAll(plots: readonly NamedPlot[]): Promise<void> {
  const sized = plots.map(({ plot, ...rest }) => ({ ...rest, plot: withHeight(plot) }));
  const pictures = await drawPictures(sized.map(({ plot }) => plot));
  for (const [index, plot] of sized.entries()) {
    const picture = pictures[index];
    await publish(figureBundle(plot, picture));
    if (picture === undefined) continue;
    await writeFileAtomic(`figures/${plot.name.replaceAll(/[^\w.-]+/g, "_")}.svg`, picture.svg);
  }
  await flush();
}

/** Pictures of natural size; none where no Chromium is found. */
async function drawPictures(figures: readonly PlotlyFigure[]): Promise<readonly FigureImages[]> {
  const path = await findChromium();
  if (path === undefined) return [];
  await using browser = await startChromium(path);
  return await drawFigures(browser, figures, { scale: 1 });
}

/**
 * Puts a figure into the forms that front ends draw.
 *
 * @param plot The figure.
 * @param picture Its picture, if one was drawn.
 * @returns Plotly's JSON, a line of text and, with a picture, a PNG in base 64.
 */
export function figureBundle(plot: NamedPlot, picture?: FigureImages): Bundle {
  return {
    "application/vnd.plotly.v1+json": plot.plot,
    ...(picture && { "image/png": picture.png.toBase64() }),
    "text/plain": plot.text,
  };
}

/** Otherwise front ends choose the height, and long captions do not fit. */
function withHeight(plot: NamedPlot["plot"]): NamedPlot["plot"] {
  return { ...plot, layout: { ...plot.layout, height: figureHeight(plot) } };
}
