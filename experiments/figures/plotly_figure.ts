/**
 * Turns figures into Plotly's JSON, within what its versions 2 to 4 share.
 *
 * @module
 */

import type { JsonValue } from "../../core/json.ts";
import type { Figure, Series } from "../experiment.ts";
import {
  escapeText,
  figureLayout,
  isPoint,
  type LayoutOptions,
  paperLegend,
  type Trace,
} from "./layout.ts";
import { PAPER_COLOR, seriesStyle, transparent } from "./palette.ts";

/** A figure as Plotly takes it. */
export interface PlotlyFigure {
  /** Traces. */
  readonly data: readonly { readonly [key: string]: JsonValue }[];
  /** Everything else. */
  readonly layout: { readonly [key: string]: JsonValue };
}

/** Height of the plot itself, without heading, legend and caption. */
const PLOT_HEIGHT = 330;

/** If a line has more points than this, its intervals are a band instead of bars. */
export const MOST_ERROR_BARS = 24;

/**
 * Draws a figure.
 *
 * @param figure What to draw.
 * @param options Caption and heading.
 * @returns Data and layout.
 */
export function plotlyFigure(figure: Figure, options: LayoutOptions = {}): PlotlyFigure {
  const named = {
    ...figure,
    series: dodged(figure).map((series) => ({
      ...series,
      label: escapeText(series.label),
      x: series.x.map(escapeTick),
      y: series.y.map(escapeTick),
    })),
    paper: figure.paper.map((mark) => ({ ...mark, label: escapeText(mark.label) })),
  };
  const data = named.series.flatMap((series, index) => seriesTraces(named, series, index));
  return {
    data: [...data, ...pointTraces(named), ...paperLegend(named)],
    layout: figureLayout(named, options),
  };
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

function escapeTick<T extends number | string>(tick: T): T {
  return typeof tick === "string" ? escapeText(tick) as T : tick;
}

/** Distance between neighbors that would lie on each other, as a share of the axis. */
const DODGE = 0.008;

/**
 * Moves lines with whiskers a little to the side, so that whiskers of one place do not cover each other. On a logarithmic axis
 * no distance is small everywhere.
 */
function dodged({ kind, series, isXLog }: Figure): readonly Series[] {
  const hasWhiskers = ({ low, y }: Series) => low !== undefined && y.length <= MOST_ERROR_BARS;
  const isNumeric = series.every(({ x }) => x.every((place) => typeof place === "number"));
  if (kind !== "line" || isXLog || series.length < 2 || !isNumeric || !series.every(hasWhiskers)) {
    return series;
  }
  const places = series.flatMap(({ x }) => x as readonly number[]);
  const step = DODGE * (Math.max(...places) - Math.min(...places));
  return series.map((line, index) => {
    const shift = (index - (series.length - 1) / 2) * step;
    return { ...line, x: (line.x as readonly number[]).map((place) => place + shift) };
  });
}

function seriesTraces(figure: Figure, series: Series, index: number): Trace[] {
  if (figure.kind === "heatmap") return [heatmapTrace(figure, series)];
  const style = seriesStyle(index);
  if (figure.kind === "histogram") return [histogramTrace(series, index)];
  const trace: Trace = { name: series.label, x: series.x, y: series.y };
  if (figure.kind === "bar") {
    return [withErrorBars({ ...trace, type: "bar", marker: { color: style.color } }, series)];
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
    colorbar: { title: { text: escapeText(figure.zTitle ?? ""), side: "right" }, thickness: 14 },
  };
}

/** The first series is filled, later ones are outlines, so that none hides another. */
function histogramTrace(series: Series, index: number): Trace {
  const { color, dash } = seriesStyle(index);
  const { label: name, x, y } = series;
  const width = binWidth(series);
  if (index === 0) {
    return {
      type: "bar",
      name,
      x,
      y,
      offset: 0,
      width,
      marker: { color: transparent(color, 0.55) },
    };
  }
  const edges = x as readonly number[];
  const end = (edges.at(-1) ?? 0) + width;
  return {
    type: "scatter",
    mode: "lines",
    name,
    x: [edges[0] ?? 0, ...edges, end, end],
    y: [0, ...y, y.at(-1) ?? 0, 0],
    line: { color, dash, width: 2, shape: "hv" },
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

/** Points of the paper; those with one label are one trace. */
function pointTraces(figure: Figure): Trace[] {
  const groups = Map.groupBy(figure.paper.filter(isPoint), ({ label }) => label);
  return [...groups].map(([name, marks], index) => ({
    type: "scatter",
    mode: "markers",
    name,
    x: marks.map(({ x }) => x!),
    y: marks.map(({ y }) => y!),
    marker: {
      color: PAPER_COLOR,
      symbol: ["diamond-open", "square-open", "triangle-up-open", "x-thin-open"][index % 4]!,
      size: 11,
      line: { width: 2, color: PAPER_COLOR },
    },
  }));
}
