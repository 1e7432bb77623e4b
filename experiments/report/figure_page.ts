/**
 * A figure as a page, for machines without a Chromium that draws SVG and PNG.
 *
 * @module
 */

import { FIGURE_WIDTH } from "../figures/layout.ts";
import { figureHeight, type PlotlyFigure } from "../figures/plotly_figure.ts";
import { escapeHtml, escapeJson } from "./html.ts";

/** File of Plotly next to the pages, so that they open without a network. */
export const PLOTLY_FILE = "plotly.min.js";

/**
 * Writes the page of a figure.
 *
 * @param name What the tab of the browser says.
 * @returns HTML that loads Plotly from `PLOTLY_FILE` in its own folder and nothing else.
 */
export function figurePage(name: string, figure: PlotlyFigure): string {
  const size = `width:${FIGURE_WIDTH}px;height:${figureHeight(figure)}px`;
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>${escapeHtml(name)}</title>
<link rel="icon" href="data:,">
<script src="${PLOTLY_FILE}"></script>
</head>
<body>
<div id="plot" style="${size}"></div>
<script>
const { data, layout } = ${escapeJson(JSON.stringify(figure))};
Plotly.newPlot("plot", data, layout, { displaylogo: false });
</script>
</body>
</html>
`;
}
