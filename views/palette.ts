/**
 * Colors of views. Those of tiers and lines are variables of the style sheet, which has them for light and dark pages;
 * readers who are color-blind can tell all of them apart.
 *
 * @module
 */

import type { TierName } from "../cache/token_tier.ts";

/** Viridis at equal steps: dark is little, bright is much, for color-blind readers too. */
export const VIRIDIS: readonly string[] = [
  "#440154",
  "#3e4989",
  "#26828e",
  "#35b779",
  "#b5de2b",
  "#fde725",
];

/** Place of attention on a scale of colors, from 0 to 1: by the square root, so that little can be told from none. */
export function attentionLevel(attention: number): number {
  return Math.sqrt(Math.min(1, Math.max(0, attention)));
}

/** Colors of tiers on a light page, for charts without the style sheet. */
export const TIER_COLORS: Readonly<Record<TierName, string>> = {
  dropped: "#dcdcdc",
  host: "#ddd3ea",
  marginal: "#e69f00",
  critical: "#0072b2",
  recent: "#56b4e9",
};

/** Dashes of lines, which tell them apart without color. */
const DASHES = [undefined, "6 4", "2 4", "9 4 2 4"];

/**
 * How a line of a chart is drawn: in Okabe and Ito's colors, as in all figures of the project.
 *
 * @param place Place of the line in its chart; looks repeat after four.
 */
export function lineStyle(place: number): { readonly color: string; readonly dash?: string } {
  const dash = DASHES[place % DASHES.length];
  return { color: `var(--line-${place % DASHES.length})`, ...dash !== undefined && { dash } };
}

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
