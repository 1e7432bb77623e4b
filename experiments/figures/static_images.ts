/**
 * Figures as SVG and PNG, drawn by Plotly in a Chromium.
 *
 * @module
 */

import type { Browser } from "playwright-core";
import { FIGURE_WIDTH } from "./layout.ts";
import { figureHeight, type PlotlyFigure } from "./plotly_figure.ts";

/** A figure as pictures. */
export interface FigureImages {
  /** Vector picture. */
  readonly svg: string;
  /** Pixels. */
  readonly png: Uint8Array;
}

/** How figures are drawn. */
export interface DrawOptions {
  /** Pixels of the PNG per unit; 2 if left out. */
  readonly scale?: number;
  /** Called after each figure. */
  readonly onFigure?: () => void;
}

/** What the page returns: the SVG as text, the PNG as base 64. */
interface PageImages {
  readonly svg: string;
  readonly png: string;
}

/**
 * Loads Plotly's minified bundle.
 *
 * @returns Its source text.
 */
export async function plotlySource(): Promise<string> {
  const { default: text } = await import("plotly.js-dist-min/plotly.min.js", {
    with: { type: "text" },
  });
  return text;
}

/**
 * Draws figures one after the other in one page.
 *
 * @param browser A running browser.
 * @param figures The figures.
 * @param options Scale, and a function that is told of each figure.
 * @returns Pictures in the same order.
 */
export async function drawFigures(
  browser: Browser,
  figures: readonly PlotlyFigure[],
  options: DrawOptions = {},
): Promise<readonly FigureImages[]> {
  const page = await browser.newPage();
  try {
    await page.addScriptTag({ content: await plotlySource() });
    const images: FigureImages[] = [];
    for (const figure of figures) {
      const size = { width: FIGURE_WIDTH, height: figureHeight(figure) };
      const drawn = await page.evaluate(drawInPage, {
        figure: JSON.stringify(figure),
        size,
        scale: options.scale ?? 2,
      });
      images.push({ svg: drawn.svg, png: Uint8Array.fromBase64(drawn.png) });
      options.onFigure?.();
    }
    return images;
  } finally {
    await page.close();
  }
}

/**
 * Runs inside the page, so it can use nothing from outside. Plotly names elements of an SVG at random, hence the
 * fixed numbers.
 */
async function drawInPage(
  work: { figure: string; size: { width: number; height: number }; scale: number },
): Promise<PageImages> {
  interface PagePlotly {
    toImage(figure: unknown, options: unknown): Promise<string>;
  }
  const { Plotly } = globalThis as unknown as { Plotly: PagePlotly };
  const figure = JSON.parse(work.figure);
  let state = 1;
  Math.random = () => (state = state * 16_807 % 0x7fffffff) / 0x7fffffff;
  const svg = await Plotly.toImage(figure, { ...work.size, format: "svg" });
  const png = await Plotly.toImage(figure, { ...work.size, format: "png", scale: work.scale });
  return {
    svg: decodeURIComponent(svg.slice(svg.indexOf(",") + 1)),
    png: png.slice(png.indexOf(",") + 1),
  };
}
