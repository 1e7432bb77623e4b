/**
 * Figures in cells.
 *
 * @module
 */

import { writeFileAtomic } from "../core/atomic_file.ts";
import type { Figure } from "../experiments/result.ts";
import { figureCaption } from "../experiments/figures/caption.ts";
import { escapeHtml } from "../experiments/report/html.ts";
import { FIGURE_WIDTH } from "../experiments/figures/layout.ts";
import { figureHeight, type PlotlyFigure } from "../experiments/figures/plotly_figure.ts";
import { findChromium, startChromium } from "../experiments/figures/chromium.ts";
import { drawFigures, type FigureImages } from "../experiments/figures/static_images.ts";
import type { ReportedResult } from "../experiments/runner/record.ts";
import { type Bundle, flush, publish } from "./output.ts";
import { drawView, type ViewImages } from "./draw_view.ts";
import { type NamedPlot, namedPlot } from "./views/named_plot.ts";
import type { NamedView } from "./views/named_view.ts";

export type { NamedPlot, NamedView };

/** How a figure is shown. */
export interface ShowOptions {
  /** Sentences below it: models, n, what intervals are. */
  readonly caption?: string;
}

/**
 * Shows a figure. Those of experiments are interactive where the front end has Plotly; views are pages of their own, as in the
 * explorer. Where a Chromium is found, a picture of either is shown to other front ends, and SVG files go to `figures/` of
 * the working folder.
 *
 * @param figure A figure of an experiment, or one of the views.
 * @param options Caption of an experiment's figure.
 */
export async function show(
  figure: Figure | NamedPlot | NamedView,
  options: ShowOptions = {},
): Promise<void> {
  if ("page" in figure) await showView(figure);
  else await showAll(["plot" in figure ? figure : namedPlot(figure, options.caption)]);
}

async function showView(view: NamedView): Promise<void> {
  const images = await picturesOf(view);
  await publish(viewBundle(view, images));
  for (const [index, svg] of (images?.svgs ?? []).entries()) {
    await writeFileAtomic(fileOf(index === 0 ? view.name : `${view.name}_${index + 1}`), svg);
  }
  await flush();
}

async function picturesOf(view: NamedView): Promise<ViewImages | undefined> {
  const path = await findChromium();
  if (path === undefined) return undefined;
  await using browser = await startChromium(path);
  return await drawView(browser, view.page);
}

/**
 * Puts a view into the forms that front ends draw: a page in a frame over its picture. Front ends that do not trust a notebook
 * take the frame away, as GitHub does, and leave the picture, or the line of text where there is none.
 *
 * @param view The view.
 * @param images Its picture, if one was drawn.
 * @returns HTML and a line of text.
 */
export function viewBundle(view: NamedView, images?: { readonly png: Uint8Array }): Bundle {
  const [text, page] = [escapeHtml(view.text), escapeHtml(view.page)];
  const frame = (style: string) =>
    `<iframe title="${text}" sandbox="" srcdoc="${page}" style="border:0;width:100%;${style}"></iframe>`;
  const html = images
    ? `<div style="position:relative;max-width:${FIGURE_WIDTH}px">` +
      `<img alt="${text}" src="data:image/png;base64,${images.png.toBase64()}" ` +
      `style="display:block;width:100%">${frame("height:100%;position:absolute;inset:0")}</div>`
    : `<div>${text}</div>${frame("height:30em;resize:vertical")}`;
  return { "text/html": html, "text/plain": view.text };
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
    await writeFileAtomic(fileOf(plot.name), picture.svg);
  }
  await flush();
}

function fileOf(name: string): string {
  return `figures/${name.replaceAll(/[^\w.-]+/g, "_")}.svg`;
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
