/**
 * Pictures of figures for cells and for the disk, drawn by a Chromium where there is one.
 *
 * @module
 */

import type { Browser } from "playwright-core";
import { writeFileAtomic } from "../core/atomic_file.ts";
import { findChromium, startChromium } from "../experiments/figures/chromium.ts";
import type { PlotlyFigure } from "../experiments/figures/plotly_figure.ts";
import { drawFigures, type FigureImages } from "../experiments/figures/static_images.ts";

/** Time after the last picture in which the browser waits for more. */
const IDLE_MS = 5000;

/** A browser that is started when it is needed and ends when it is not. */
class PictureBrowser {
  #browser: Promise<Browser | undefined> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Draws figures; nothing where there is no browser. */
  async draw(figures: readonly PlotlyFigure[]): Promise<readonly FigureImages[] | undefined> {
    clearTimeout(this.#timer);
    this.#browser ??= launch();
    const browser = await this.#browser;
    if (browser === undefined) return undefined;
    try {
      return await drawFigures(browser, figures, { scale: 1 });
    } finally {
      this.#timer = setTimeout(() => this.close(), IDLE_MS);
      Deno.unrefTimer(this.#timer);
    }
  }

  /** Ends the browser. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    const browser = await this.#browser;
    this.#browser = undefined;
    await browser?.close();
  }
}

async function launch(): Promise<Browser | undefined> {
  const path = await findChromium();
  return path === undefined ? undefined : await startChromium(path);
}

const shared = new PictureBrowser();

/**
 * Draws figures as SVG and PNG of natural size.
 *
 * @param figures The figures.
 * @returns Pictures in the same order; nothing where no Chromium was found.
 */
export async function drawPictures(
  figures: readonly PlotlyFigure[],
): Promise<readonly FigureImages[] | undefined> {
  return await shared.draw(figures);
}

/** Ends the browser, if one was started; it also ends by itself. */
export async function closePictures(): Promise<void> {
  await shared.close();
}

/**
 * Writes an SVG to `figures/` of the working folder.
 *
 * @param name File stem.
 * @param svg The picture.
 * @throws {DataError} If it cannot be written.
 */
export async function writePicture(name: string, svg: string): Promise<void> {
  await writeFileAtomic(`figures/${name.replaceAll(/[^\w.-]+/g, "_")}.svg`, svg);
}
