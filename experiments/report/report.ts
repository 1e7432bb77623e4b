/**
 * The report: one HTML file that needs nothing else.
 *
 * @module
 */

import type { PaperClaim } from "../claims.ts";
import type { Figure } from "../experiment.ts";
import { type PlotlyFigure, plotlyFigure } from "../figures/plotly_figure.ts";
import { plotlySource } from "../figures/static_images.ts";
import type { ReportedResult } from "../runner/record.ts";
import { escapeHtml, escapeJson, escapeScript } from "./html.ts";
import style from "./page.css" with { type: "text" };
import script from "./page.js" with { type: "text" };
import {
  environmentSection,
  experimentSection,
  figureId,
  verdictCounts,
  verdictSection,
} from "./sections.ts";
import { slimFigure } from "./slim_figure.ts";

/** Bytes of figure data that keep the file under six million with Plotly in it. */
const FIGURE_BYTES = 700_000;

/** What a report begins with. */
export interface ReportHeading {
  /** First line. */
  readonly title: string;
  /** What a reader must know. */
  readonly text: string;
}

const PAPER: ReportHeading = {
  title: "What the SmallKV paper claims, and what was measured",
  text: "Paper: SmallKV, arXiv 2508.02751. A claim differs only where the whole 95 % interval " +
    "lies outside what it allows, and a trend is reproduced only where all of it lies inside; " +
    "one context alone shows no trend. Absolute values are compared only with the paper's own models.",
};

/**
 * Builds the report.
 *
 * @param records Results, in the order of the report.
 * @param options Claims that no experiment measures, shown as "not run"; why other results are left out;
 * what it begins with.
 * @returns HTML.
 */
export async function buildReport(
  records: readonly ReportedResult[],
  options: {
    readonly untouched?: readonly PaperClaim[];
    readonly faults?: readonly string[];
    readonly heading?: ReportHeading;
  } = {},
): Promise<string> {
  const { untouched = [], faults = [], heading = PAPER } = options;
  const hasClaims = untouched.length > 0 || records.some(({ claims }) => claims.length > 0);
  const { large, small } = records[0]?.models ?? {};
  const pair = large === undefined || small === undefined ? "" : `${large.name} and ${small.name}`;
  const policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; " +
    "img-src data: blob:";
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<link rel="icon" href="data:,">
<title>SmallKV Lab: ${escapeHtml(pair)}</title>
<style>
${style}</style>
</head>
<body>
<h1>${escapeHtml(heading.title)}</h1>
<p>${escapeHtml(pair)}</p>
<p class="soft">${escapeHtml(heading.text)}</p>
${faults.map((fault) => `<p><strong>${escapeHtml(fault)}</strong></p>`).join("\n")}
${hasClaims ? verdictCounts(records, untouched) : ""}
${hasClaims ? verdictSection(records, untouched) : ""}
<noscript><p>Figures and sorting need JavaScript; nothing is loaded from elsewhere.</p></noscript>
${records.map(experimentSection).join("\n")}
${environmentSection(records)}
<script type="application/json" id="figures">${escapeJson(figureData(records))}</script>
<script>${escapeScript(await plotlySource())}</script>
<script>
${escapeScript(script)}</script>
</body>
</html>
`;
}

function figureData(records: readonly ReportedResult[]): string {
  const figures = records.flatMap((record) =>
    record.figures.map((figure) => ({ id: figureId(record, figure.name), figure }))
  );
  const draw = (figure: Figure): PlotlyFigure => plotlyFigure(figure, { isBare: true });
  const share = FIGURE_BYTES / Math.max(1, figures.length);
  return JSON.stringify(
    figures.map(({ id, figure }) => ({ id, ...draw(slimFigure(figure, share)) })),
  );
}
