/**
 * Pictures of figures for cells and for the disk.
 *
 * @module
 */

import { writeFileAtomic } from "../core/atomic_file.ts";
import { openPainter, type Painter } from "../experiments/figures/painter.ts";
import type { PlotlyFigure } from "../experiments/figures/plotly_figure.ts";
import type { FigureImages } from "../experiments/figures/static_images.ts";

/** Time after the last picture in which the painter waits for more. */
const IDLE_MS = 5000;

/** A painter that is started when it is needed and ends when it is not. */
class SharedPainter {
  #painter: Promise<Painter> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Draws figures. */
  async draw(figures: readonly PlotlyFigure[]): Promise<readonly FigureImages[]> {
    clearTimeout(this.#timer);
    this.#painter ??= openPainter();
    try {
      return await (await this.#painter).draw(figures, { scale: 1 });
    } finally {
      this.#timer = setTimeout(() => this.close(), IDLE_MS);
      Deno.unrefTimer(this.#timer);
    }
  }

  /** Ends the painter. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    const painter = this.#painter;
    this.#painter = undefined;
    await (await painter)?.[Symbol.asyncDispose]();
  }
}

const shared = new SharedPainter();

/**
 * Draws figures as SVG and PNG of natural size, with a Chromium or without.
 *
 * @param figures The figures.
 * @returns Pictures in the same order.
 * @throws {RangeError} If there is no Chromium, and a figure holds what cannot be drawn without one.
 */
export async function drawPictures(
  figures: readonly PlotlyFigure[],
): Promise<readonly FigureImages[]> {
  return await shared.draw(figures);
}

/** Ends the painter, if one was started; it also ends by itself. */
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
