/**
 * Draws figures as pictures with what there is: a Chromium, else Plotly in a page without a browser.
 *
 * @module
 */

import type { Browser } from "playwright-core";
import { findChromium, startChromium } from "./chromium.ts";
import { FigurePage } from "./figure_page.ts";
import { fontMetrics } from "./font_metrics.ts";
import { FIGURE_WIDTH } from "./layout.ts";
import { figureHeight, type PlotlyFigure } from "./plotly_figure.ts";
import { loadRasterizer, pictureFont } from "./rasterizer.ts";
import { drawFigures, type DrawOptions, type FigureImages, plotlySource } from "./static_images.ts";

/** Something that draws figures. */
export interface Painter extends AsyncDisposable {
  /** Why no Chromium draws, if one was found but does not start. */
  readonly note?: string;
  /** Draws figures one after the other; pictures in the same order. */
  draw(figures: readonly PlotlyFigure[], options?: DrawOptions): Promise<readonly FigureImages[]>;
}

/**
 * Starts a Chromium, or loads Plotly where none is found or none starts; both give pictures of the same size.
 *
 * @returns The painter; the caller disposes of it.
 */
export async function openPainter(): Promise<Painter> {
  const path = await findChromium();
  if (path === undefined) return await openPagePainter();
  try {
    return browserPainter(await startChromium(path));
  } catch (error) {
    const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
    return { ...await openPagePainter(), note: `Drawn without ${path}, which failed: ${reason}` };
  }
}

/**
 * Starts to draw with a browser.
 *
 * @param browser A running browser; the painter closes it.
 * @returns The painter.
 */
export function browserPainter(browser: Browser): Painter {
  return {
    draw: (figures, options) => drawFigures(browser, figures, options),
    [Symbol.asyncDispose]: () => browser.close(),
  };
}

/**
 * Loads what draws without a browser.
 *
 * @returns The painter; the caller disposes of it.
 */
export async function openPagePainter(): Promise<Painter> {
  const font = await pictureFont();
  const rasterize = await loadRasterizer(font);
  const page = await FigurePage.open({ plotly: await plotlySource(), font: fontMetrics(font) });
  return {
    async draw(figures, { scale = 2, onFigure } = {}) {
      const images: FigureImages[] = [];
      for (const figure of figures) {
        const svg = await page.draw(figure, { width: FIGURE_WIDTH, height: figureHeight(figure) });
        images.push({ svg, png: rasterize(svg, { scale }) });
        onFigure?.();
      }
      return images;
    },
    [Symbol.asyncDispose]: () => Promise.resolve(page[Symbol.dispose]()),
  };
}
