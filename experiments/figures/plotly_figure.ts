/**
 * Turns figures into Plotly's JSON, within what its versions 2 to 4 share.
 *
 * @module
 */

import type { JsonValue } from "../../core/json.ts";
import type { Figure, PaperMark, Series } from "../experiment.ts";
import { DASHES, PAPER_COLOR, seriesStyle, transparent } from "./palette.ts";

/** A figure as Plotly takes it. */
export interface PlotlyFigure {
  /** Traces. */
  readonly data: readonly { readonly [key: string]: JsonValue }[];
  /** Everything else. */
  readonly layout: { readonly [key: string]: JsonValue };
}

/** Choices of {@linkcode plotlyFigure}. */
export interface PlotlyOptions {
  /** Sentences below the picture; none if left out. */
  readonly caption?: string;
  /** Where the legend goes; `bottom` leaves the heading to the page. `top` if left out. */
  readonly legend?: "top" | "bottom";
}

/** Width of static pictures in pixels. */
export const FIGURE_WIDTH = 720;
/** Height of the plot itself, without heading, legend and caption. */
const PLOT_HEIGHT = 330;
/** Bars that stand for intervals become a band where points lie closer than this. */
const MOST_ERROR_BARS = 24;

/**
 * Draws a figure.
 *
 * @param figure What to draw.
 * @param options Caption and place of the legend.
 * @returns Data and layout.
 */
export function plotlyFigure(figure: Figure, options: PlotlyOptions = {}): PlotlyFigure {
  const data = figure.series.flatMap((series, index) => seriesTraces(figure, series, index));
  const points = figure.paper.filter(isPoint).map((mark, index) => pointTrace(mark, index));
  return { data: [...data, ...points], layout: figureLayout(figure, options) };
}

/**
 * Height of a static picture.
 *
 * @param figure The drawn figure.
 * @returns Pixels.
 */
export function figureHeight(figure: PlotlyFigure): number {
  const margin = figure.layout["margin"] as { t: number; b: number };
  return PLOT_HEIGHT + margin.t + margin.b;
}

type Trace = Record<string, JsonValue>;

function seriesTraces(figure: Figure, series: Series, index: number): Trace[] {
  if (figure.kind === "heatmap") return [heatmapTrace(figure, series)];
  const style = seriesStyle(index);
  const trace: Trace = { name: series.label, x: series.x, y: series.y };
  if (figure.kind === "bar" || figure.kind === "histogram") {
    Object.assign(trace, { type: "bar", marker: { color: style.color } });
    if (figure.kind === "histogram") Object.assign(trace, { offset: 0, width: binWidth(series) });
    return [withErrorBars(trace, series)];
  }
  const isDense = series.y.length > MOST_ERROR_BARS;
  const hasLine = figure.kind === "line";
  Object.assign(trace, {
    type: "scatter",
    mode: !hasLine ? "markers" : isDense ? "lines" : "lines+markers",
    ...(hasLine ? { line: { color: style.color, dash: style.dash, width: 2 } } : {}),
    ...(hasLine && isDense
      ? {}
      : { marker: { color: style.color, symbol: style.symbol, size: 7 } }),
  });
  return isDense ? [...bandTraces(series, style.color), trace] : [withErrorBars(trace, series)];
}

function heatmapTrace(figure: Figure, series: Series): Trace {
  return {
    type: "heatmap",
    name: series.label,
    x: series.x,
    y: series.y,
    z: series.z ?? [],
    colorscale: "Viridis",
    colorbar: { title: { text: figure.zTitle ?? "", side: "right" }, thickness: 14 },
  };
}

function binWidth({ x }: Series): number {
  const [first, second] = x as readonly number[];
  return first === undefined || second === undefined ? 1 : second - first;
}

function withErrorBars(trace: Trace, series: Series): Trace {
  const { low, high, y } = series;
  if (low === undefined || high === undefined) return trace;
  const values = y as readonly number[];
  return {
    ...trace,
    error_y: {
      type: "data",
      symmetric: false,
      array: values.map((value, index) => Math.max(0, (high[index] ?? value) - value)),
      arrayminus: values.map((value, index) => Math.max(0, value - (low[index] ?? value))),
      thickness: 1.2,
      width: 4,
    },
  };
}

function bandTraces(series: Series, color: string): Trace[] {
  const { low, high, x } = series;
  if (low === undefined || high === undefined) return [];
  const edge = {
    type: "scatter",
    mode: "lines",
    x,
    line: { width: 0, color },
    showlegend: false,
    hoverinfo: "skip",
  };
  return [
    { ...edge, y: high },
    { ...edge, y: low, fill: "tonexty", fillcolor: transparent(color) },
  ];
}

function isPoint({ x, y, yHigh }: PaperMark): boolean {
  return x !== undefined && y !== undefined && yHigh === undefined;
}

function pointTrace(mark: PaperMark, index: number): Trace {
  return {
    type: "scatter",
    mode: "markers",
    name: mark.label,
    x: [mark.x!],
    y: [mark.y!],
    marker: {
      color: PAPER_COLOR,
      symbol: ["diamond-open", "square-open", "triangle-up-open", "x-thin-open"][index % 4]!,
      size: 12,
      line: { width: 2, color: PAPER_COLOR },
    },
  };
}

/** Lines and bands of the paper, named in the legend so that no text lies on the data. */
function paperShapes(figure: Figure): Trace[] {
  const marks = figure.paper.filter((mark) =>
    !isPoint(mark) && (mark.x !== undefined || mark.y !== undefined)
  );
  return marks.map((mark, index) => {
    const { label, x, y, yHigh } = mark;
    const line = { color: PAPER_COLOR, width: 1.8, dash: DASHES[1 + index % (DASHES.length - 1)]! };
    const named = { name: label, showlegend: true, line };
    if (y === undefined) {
      return { ...named, type: "line", xref: "x", yref: "paper", x0: x!, x1: x!, y0: 0, y1: 1 };
    }
    const across = x === undefined ? { xref: "paper", x0: 0, x1: 1 } : { xref: "x", x0: x, x1: x };
    if (yHigh === undefined || x !== undefined) {
      return { ...named, ...across, type: "line", yref: "y", y0: y, y1: yHigh ?? y };
    }
    const fill = { fillcolor: transparent(PAPER_COLOR), line: { width: 0 }, layer: "below" };
    return { ...named, ...fill, ...across, type: "rect", yref: "y", y0: y, y1: yHigh };
  });
}

function figureLayout(figure: Figure, options: PlotlyOptions): Trace {
  const labels = [
    ...(figure.kind === "heatmap" ? [] : figure.series.map(({ label }) => label)),
    ...figure.paper.map(({ label }) => label),
  ];
  const hasLegend = figure.kind !== "heatmap" && labels.length > 1 || figure.paper.length > 0;
  const title = wrapText(figure.title, 84);
  const caption = options.caption === undefined ? [] : wrapText(options.caption, 118);
  const isTop = options.legend !== "bottom";
  const top = isTop ? 28 + 20 * title.length + (hasLegend ? 20 * legendRows(labels) : 0) : 12;
  const isCategory = figure.series.some(({ x }) => typeof x[0] === "string");
  return {
    ...(isTop ? { title: titleOf(title) } : {}),
    font: { family: "system-ui, sans-serif", size: 13, color: "#222222" },
    paper_bgcolor: "#ffffff",
    plot_bgcolor: "#ffffff",
    margin: { t: top, r: 24, b: 64 + 15 * caption.length, l: 68 },
    showlegend: hasLegend,
    ...(hasLegend ? { legend: legendOf(isTop) } : {}),
    xaxis: {
      ...axis(figure.xTitle),
      ...(isCategory ? { type: "category" } : {}),
    },
    yaxis: {
      ...axis(figure.yTitle),
      ...(figure.isLog === true ? { type: "log", dtick: "D2" } : {}),
    },
    ...(figure.kind === "histogram" ? { bargap: 0, barmode: "overlay" } : {}),
    ...(figure.kind === "bar" ? { barmode: "group" } : {}),
    shapes: paperShapes(figure),
    annotations: caption.length === 0 ? [] : [captionOf(caption)],
  };
}

function legendOf(isTop: boolean): Trace {
  const place = isTop ? { y: 1.02, yanchor: "bottom" } : { y: -0.24, yanchor: "top" };
  return { orientation: "h", traceorder: "normal", x: 0, ...place };
}

function axis(title: string): Trace {
  return {
    title: { text: title, standoff: 8 },
    automargin: true,
    gridcolor: "#e4e4e4",
    linecolor: "#666666",
    zerolinecolor: "#bbbbbb",
    ticks: "outside",
  };
}

function titleOf(lines: readonly string[]): Trace {
  return {
    text: lines.map(escapeText).join("<br>"),
    x: 0.01,
    xanchor: "left",
    y: 0.985,
    yanchor: "top",
    yref: "container",
    font: { size: 15 },
  };
}

function captionOf(lines: readonly string[]): Trace {
  return {
    text: lines.map(escapeText).join("<br>"),
    xref: "paper",
    yref: "paper",
    x: 0,
    y: 0,
    xanchor: "left",
    yanchor: "top",
    yshift: -52,
    xshift: -58,
    align: "left",
    showarrow: false,
    font: { size: 11, color: "#555555" },
  };
}

/** Plotly reads a few tags in its texts. */
function escapeText(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

/** Rows the legend will need above the plot, by the usual width of a letter. */
function legendRows(labels: readonly string[]): number {
  const widest = Math.max(0, ...labels.map((label) => label.length)) * 7 + 46;
  const perRow = Math.max(1, Math.floor((FIGURE_WIDTH - 92) / widest));
  return Math.ceil(labels.length / perRow);
}

function wrapText(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}
