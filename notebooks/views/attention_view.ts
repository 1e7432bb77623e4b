/**
 * The attention map of one head, and the attention that tokens receive, with their texts.
 *
 * @module
 */

import { escapeText } from "../../experiments/figures/layout.ts";
import { VIRIDIS } from "../../experiments/figures/token_views.ts";
import type { AttentionMap } from "../../analysis/attention_map.ts";
import { checkLength } from "../../core/check.ts";
import type { Figure } from "../../experiments/result.ts";
import { type NamedPlot, namedPlot } from "./named_plot.ts";

/** What an attention view needs besides the map. */
export interface AttentionViewOptions {
  /** Label of each token, as `tokenLabels` gives them. */
  readonly labels: readonly string[];
  /** First and one past the last token that is drawn; the first 64 if left out. */
  readonly range?: readonly [start: number, end: number];
  /** Sentences below the picture. */
  readonly caption?: string;
}

/** Tokens drawn by default; with more, labels are unreadable. */
const USUAL_RANGE = [0, 64] as const;

/** Colors at the attention whose level is theirs: `attentionLevel` turned around. */
const ROOT_SCALE = VIRIDIS.map((color, index): [number, string] => [
  (index / (VIRIDIS.length - 1)) ** 2,
  color,
]);

/**
 * Draws the attention map of a head; hovering names query, key and attention.
 *
 * @param map The map.
 * @param options Labels, part and caption.
 * @returns The figure, for `show`.
 * @throws {RequirementError} If there is not one label per key.
 */
export function attentionView(map: AttentionMap, options: AttentionViewOptions): NamedPlot {
  const { layer, head, queries, keys, values } = map;
  checkLength("draw an attention map", "labels", {
    required: keys,
    current: options.labels.length,
  });
  const [start, end] = clipped(options.range ?? USUAL_RANGE, keys);
  const labels = options.labels.slice(start, end);
  const firstQuery = keys - queries;
  const rows = labels.map((_, offset) => start + offset).filter((query) => query >= firstQuery);
  const z = rows.map((query) =>
    labels.map((_, offset) => {
      const key = start + offset;
      return key > query ? null : rounded(values[(query - firstQuery) * keys + key]!);
    })
  );
  const figure: Figure = {
    name: `attention_${layer}_${head}`,
    title: `Attention of layer ${layer}, head ${head}`,
    kind: "heatmap",
    xTitle: "key (position and token)",
    yTitle: "query (position and token)",
    zTitle: "attention (share of the row, root scale)",
    series: [{ label: "attention", x: labels, y: rows.map((query) => options.labels[query]!) }],
    paper: [],
  };
  const named = namedPlot(figure, options.caption);
  const { data, layout } = named.plot;
  const trace = {
    ...data[0]!,
    z,
    zmin: 0,
    zmax: Math.max(...z.flat().map((value) => value ?? 0)),
    colorscale: ROOT_SCALE,
    hoverongaps: false,
    hovertemplate: "query %{y}<br>key %{x}<br>attention %{z:.3f}<extra></extra>",
  };
  const axis = (name: "xaxis" | "yaxis") => ({ ...layout[name] as object, type: "category" });
  const yaxis = { ...axis("yaxis"), autorange: "reversed" };
  return { ...named, plot: { data: [trace], layout: { ...layout, xaxis: axis("xaxis"), yaxis } } };
}

/** One line of a saliency view. */
export interface SaliencyLine {
  /** Name in the legend. */
  readonly label: string;
  /** Attention received by each token. */
  readonly values: ArrayLike<number>;
}

/**
 * Draws the attention that tokens received; hovering names the token.
 *
 * @param lines What to compare, each as long as there are labels.
 * @param options Labels and caption; `range` is all tokens if left out.
 * @returns The figure, for `show`.
 */
export function saliencyView(
  lines: readonly SaliencyLine[],
  options: AttentionViewOptions & { readonly title: string; readonly name: string },
): NamedPlot {
  const { labels, title, name, caption } = options;
  const [start, end] = clipped(options.range ?? [0, labels.length], labels.length);
  const x = Array.from({ length: end - start }, (_, offset) => start + offset);
  const figure: Figure = {
    name,
    title,
    kind: "line",
    xTitle: "token position",
    yTitle: "attention received (sum over rows)",
    isLog: true,
    series: lines.map(({ label, values }) => ({
      label,
      x,
      y: x.map((position) => rounded(values[position]!)),
    })),
    paper: [],
  };
  const named = namedPlot(figure, caption);
  const { data, layout } = named.plot;
  const traces = data.map((trace) => ({
    ...trace,
    text: labels.slice(start, end).map(escapeText),
    hovertemplate: "%{text}<br>%{y:.3g}",
  }));
  return { ...named, plot: { data: traces, layout } };
}

function clipped([start, end]: readonly [number, number], length: number): [number, number] {
  return [Math.max(0, Math.min(start, length - 1)), Math.min(end, length)];
}

/** Four digits are more than a picture shows and a quarter of the text. */
function rounded(value: number): number {
  return Number(value.toPrecision(4));
}
