/**
 * Colors, dashes and symbols that readers can tell apart if they are color-blind, and in print.
 *
 * @see {@link https://jfly.uni-koeln.de/color/ | Okabe and Ito's palette}
 * @module
 */

/** Look of one series. */
export interface SeriesStyle {
  /** Hexadecimal color. */
  readonly color: string;
  /** Plotly dash. */
  readonly dash: string;
  /** Plotly marker. */
  readonly symbol: string;
}

const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f6000"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star"];

/** Plotly dashes, the solid one first. */
export const DASHES: readonly string[] = ["solid", "dash", "dot", "dashdot", "longdash"];

/** Color of everything that the paper states. */
export const PAPER_COLOR = "#333333";

/**
 * Look of a series; color and symbol repeat after seven, with another dash.
 *
 * @param index Place of the series in its figure.
 */
export function seriesStyle(index: number): SeriesStyle {
  return {
    color: COLORS[index % COLORS.length]!,
    dash: DASHES[Math.floor(index / COLORS.length) % DASHES.length]!,
    symbol: SYMBOLS[index % SYMBOLS.length]!,
  };
}

/**
 * Makes a color transparent.
 *
 * @param color Hexadecimal color.
 * @param opacity From 0 to 1.
 * @returns `rgba(...)`.
 */
export function transparent(color: string, opacity = 0.16): string {
  const channels = [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
  return `rgba(${channels.join(",")},${opacity})`;
}
