/**
 * Colors that carry values; those that name things are variables of the style sheet.
 *
 * @module
 */

import { VIRIDIS } from "../../experiments/figures/token_views.ts";

/** Variables of the style sheet for lines, in order; Okabe and Ito's colors, as in all figures of the project. */
export const LINE_COLORS: readonly string[] = [0, 1, 2, 3].map((index) => `var(--line-${index})`);

/** Dashes of lines, which tell them apart without color. */
export const LINE_DASHES: readonly (string | undefined)[] = [undefined, "6 4", "2 4", "9 4 2 4"];

/**
 * Color of a similarity.
 *
 * @param value From 0 to 1.
 * @returns Fill, and the color of text on it.
 */
export function similarityColor(value: number): { readonly fill: string; readonly ink: string } {
  const place = Math.max(0, Math.min(0.999, value)) * (VIRIDIS.length - 1);
  const lower = Math.floor(place);
  const fill = mixed(VIRIDIS[lower]!, VIRIDIS[lower + 1]!, place - lower);
  return { fill, ink: luminance(fill) > 0.18 ? "#000000" : "#ffffff" };
}

function mixed(a: string, b: string, share: number): string {
  const channel = (color: string, start: number) => parseInt(color.slice(start, start + 2), 16);
  return "#" +
    [1, 3, 5].map((start) =>
      Math.round(channel(a, start) * (1 - share) + channel(b, start) * share)
        .toString(16).padStart(2, "0")
    ).join("");
}

/** Relative luminance, as WCAG defines it. */
function luminance(color: string): number {
  const [red, green, blue] = [1, 3, 5].map((start) => {
    const value = parseInt(color.slice(start, start + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!;
}
