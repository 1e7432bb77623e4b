/**
 * Views as pictures, drawn by a Chromium.
 *
 * @module
 */

import type { Browser } from "playwright-core";
import { FIGURE_WIDTH } from "../experiments/figures/layout.ts";
import { svgText } from "../views/svg_text.ts";

/** A view as pictures. */
export interface ViewImages {
  /** All of it, as on a light page. */
  readonly png: Uint8Array;
  /** Its larger figures, each as a whole SVG file. */
  readonly svgs: readonly string[];
}

/**
 * Draws a view.
 *
 * @param browser A running browser.
 * @param view A whole HTML file.
 * @returns Pictures of natural size.
 */
export async function drawView(browser: Browser, view: string): Promise<ViewImages> {
  const page = await browser.newPage({
    viewport: { width: FIGURE_WIDTH, height: 200 },
    colorScheme: "light",
  });
  try {
    await page.setContent(view);
    // Figures have an id; the dashes of a legend have none.
    const svgs = await page.evaluate<string[]>(
      `[...document.querySelectorAll("svg[id]")].map(${svgText})`,
    );
    return { png: await page.screenshot({ fullPage: true }), svgs };
  } finally {
    await page.close();
  }
}
