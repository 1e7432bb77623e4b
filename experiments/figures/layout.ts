/**
 * Everything around the data of a figure: axes, legend, heading, caption, the paper's lines.
 *
 * @module
 */

import type { JsonValue } from "../../core/json.ts";
import { wrapText } from "../../core/wrap_text.ts";
import type { Figure, PaperMark } from "../experiment.ts";
import { DASHES, PAPER_COLOR, transparent } from "./palette.ts";

/** Width of static pictures in pixels. */
export const FIGURE_WIDTH = 720;

/** Part of a figure as Plotly takes it. */
export type Trace = Record<string, JsonValue>;

/** Choices of a figure's surroundings. */
export interface LayoutOptions {
  /** Sentences below the picture; none if left out. */
  readonly caption?: string | undefined;
  /** Whether the heading and the room for it are left to the page. */
  readonly isBare?: boolean;
}

/** Above the plot, where no tick label or axis title can overlap it. */
const LEGEND: Trace = {
  orientation: "h",
  traceorder: "normal",
  x: 0,
  y: 1.01,
  yanchor: "bottom",
  font: { size: 12 },
};

/** Room to the left of heading and caption, in pixels. */
const EDGE = 10;

/** Width of a letter of tick and legend labels, in pixels. */
const LETTER = 7;

/**
 * Whether a mark is a point rather than a line or band.
 *
 * @param mark What the paper states.
 */
export function isPoint({ x, y, yHigh }: PaperMark): boolean {
  return x !== undefined && y !== undefined && yHigh === undefined;
}

/**
 * Lays a figure out.
 *
 * @param options Caption and heading.
 * @returns Plotly's layout.
 */
export function figureLayout(figure: Figure, options: LayoutOptions): Trace {
  const labels = legendLabels(figure);
  const hasLegend = labels.length > 1 || figure.paper.length > 0;
  const isBare = options.isBare === true;
  const title = wrapText(figure.title, 80);
  const caption = options.caption === undefined ? [] : wrapText(options.caption, 116);
  const legendHeight = hasLegend ? 19 * legendRows(labels) + 6 : 0;
  const slant = isBare ? 0 : slantHeight(figure);
  const left = leftMargin(figure);
  return {
    ...(isBare ? {} : { title: headingOf(title, { legendHeight, left }) }),
    font: { family: "system-ui, sans-serif", size: 13, color: "#222222" },
    paper_bgcolor: "#ffffff",
    plot_bgcolor: "#ffffff",
    margin: {
      t: isBare ? 8 : 18 + 20 * title.length + legendHeight,
      r: 24,
      b: 64 + slant + 15 * caption.length,
      l: left,
    },
    showlegend: hasLegend,
    ...(hasLegend ? { legend: LEGEND } : {}),
    xaxis: {
      ...axis(figure.xTitle),
      ...categoryAxis(figure, slant),
      ...(figure.isXLog === true ? LOG_AXIS : {}),
    },
    yaxis: { ...axis(figure.yTitle), ...(figure.isLog === true ? LOG_AXIS : {}) },
    ...(figure.kind === "histogram" ? { bargap: 0, barmode: "overlay" } : {}),
    ...(figure.kind === "bar" ? { barmode: "group" } : {}),
    shapes: paperShapes(figure),
    annotations: caption.length === 0 ? [] : [captionOf(caption, { slant, left })],
  };
}

const LOG_AXIS = { type: "log", dtick: "D2", tickformat: "~g" };

function legendLabels(figure: Figure): string[] {
  const series = figure.kind === "heatmap" ? [] : figure.series.map(({ label }) => label);
  return [...new Set([...series, ...figure.paper.map(({ label }) => label)])];
}

/** Extra height of slanted tick labels, 0 where the labels fit side by side. */
function slantHeight(figure: Figure): number {
  const labels = figure.series[0]?.x ?? [];
  if (typeof labels[0] !== "string") return 0;
  const widest = Math.max(...labels.map((label) => String(label).length)) * LETTER;
  if (labels.length * (widest + 10) <= FIGURE_WIDTH - 92) return 0;
  return Math.round(widest * Math.SQRT1_2);
}

/** Room for the vertical axis; where rows have names, for the longest one. */
function leftMargin(figure: Figure): number {
  const rows = figure.kind === "heatmap" ? figure.series.flatMap(({ y }) => y) : [];
  const widest = Math.max(0, ...rows.map((row) => typeof row === "string" ? row.length : 0));
  return Math.max(68, 46 + Math.ceil(widest * LETTER * 1.1));
}

function categoryAxis(figure: Figure, slant: number): Trace {
  const isCategory = figure.series.some(({ x }) => typeof x[0] === "string");
  if (!isCategory) return {};
  return { type: "category", ...(slant > 0 ? { tickangle: -45 } : {}) };
}

function axis(title: string): Trace {
  return {
    title: { text: escapeText(title), standoff: 8 },
    automargin: true,
    gridcolor: "#e4e4e4",
    linecolor: "#666666",
    zeroline: false,
    ticks: "outside",
  };
}

function headingOf(
  lines: readonly string[],
  { legendHeight, left }: { readonly legendHeight: number; readonly left: number },
): Trace {
  return {
    text: lines.map(escapeText).join("<br>"),
    xref: "paper",
    yref: "paper",
    x: 0,
    xanchor: "left",
    y: 1,
    yanchor: "bottom",
    pad: { b: legendHeight + 8 + 20 * (lines.length - 1), l: EDGE - left },
    font: { size: 15 },
  };
}

function captionOf(
  lines: readonly string[],
  { slant, left }: { readonly slant: number; readonly left: number },
): Trace {
  return {
    y: 0,
    yanchor: "top",
    yshift: -52 - slant,
    font: { size: 11, color: "#555555" },
    text: lines.map(escapeText).join("<br>"),
    xref: "paper",
    yref: "paper",
    x: 0,
    xanchor: "left",
    xshift: EDGE - left,
    align: "left",
    showarrow: false,
  };
}

/**
 * Escapes a text for Plotly, which reads a few tags.
 *
 * @returns The same with `&` and `<` as entities.
 */
export function escapeText(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

/** Rows the legend will need above the plot, by the usual width of a letter. */
function legendRows(labels: readonly string[]): number {
  const widest = Math.max(0, ...labels.map((label) => label.length)) * (LETTER - 0.5) + 44;
  const perRow = Math.max(1, Math.floor((FIGURE_WIDTH - 92) / widest));
  return Math.ceil(labels.length / perRow);
}

/** Lines and bands of the paper; the legend names them, so that no text lies on the data. */
function paperShapes(figure: Figure): Trace[] {
  return lineMarks(figure).map((mark, index) => {
    const { x, y, yHigh } = mark;
    const line = markLine(index);
    if (y === undefined) {
      return { line, type: "line", xref: "x", yref: "paper", x0: x!, x1: x!, y0: 0, y1: 1 };
    }
    const across = x === undefined ? { xref: "paper", x0: 0, x1: 1 } : { xref: "x", x0: x, x1: x };
    if (!isBand(mark)) {
      return { line, ...across, type: "line", yref: "y", y0: y, y1: yHigh ?? y };
    }
    const fill = { fillcolor: transparent(PAPER_COLOR), line: { width: 0 }, layer: "below" };
    return { ...fill, ...across, type: "rect", yref: "y", y0: y, y1: yHigh! };
  });
}

/**
 * What the legend says of the paper's lines and bands.
 *
 * Shapes have names only since version 2.20, so these are traces without points.
 *
 * @returns One trace per line or band.
 */
export function paperLegend(figure: Figure): Trace[] {
  return lineMarks(figure).map((mark, index) => {
    const symbol = { symbol: "square", size: 11, color: transparent(PAPER_COLOR) };
    const look: Trace = isBand(mark)
      ? { mode: "markers", marker: symbol }
      : { mode: "lines", line: markLine(index) };
    return { type: "scatter", name: mark.label, x: [null], y: [null], ...look };
  });
}

function lineMarks({ paper }: Figure): PaperMark[] {
  return paper.filter((mark) => !isPoint(mark) && (mark.x !== undefined || mark.y !== undefined));
}

function isBand({ x, yHigh }: PaperMark): boolean {
  return x === undefined && yHigh !== undefined;
}

function markLine(index: number): Trace {
  return { color: PAPER_COLOR, width: 1.8, dash: DASHES[1 + index % (DASHES.length - 1)]! };
}
