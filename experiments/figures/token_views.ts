/**
 * What views of tokens share, wherever they are drawn: notebooks draw with Plotly, the explorer's page draws SVG itself.
 *
 * @module
 */

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

/** Colors of what a cache holds of a token; those who are color-blind can tell them apart, as can readers of gray prints. */
export const HELD_COLORS = {
  dropped: "#dcdcdc",
  valueOnly: "#e69f00",
  full: "#0072b2",
  newest: "#56b4e9",
} as const;

/** Text of a token with line breaks made visible, and with `space` in place of spaces. */
export function visibleText(text: string, space: string = " "): string {
  return text.replaceAll("\n", "⏎").replaceAll(" ", space);
}
