/**
 * One step at a time, with a slider: where attention goes and what the cache still holds.
 *
 * @module
 */

import { TIER, TIER_NAMES, type TierName } from "../../cache/token_tier.ts";
import type { JsonValue } from "../../core/json.ts";
import { figureLayout, type Trace } from "../../experiments/figures/layout.ts";
import { TIER_COLORS } from "../../views/palette.ts";
import type { DropStep } from "../drop_timeline.ts";
import type { NamedPlot } from "./named_plot.ts";

/** What a slider view needs besides the steps. */
export interface SliderViewOptions {
  /** File stem. */
  readonly name: string;
  /** Heading. */
  readonly title: string;
  /** Label of each token. */
  readonly labels: readonly string[];
  /** Sentences below the picture. */
  readonly caption?: string;
}

/** Room for the slider below the axis, in pixels. */
const SLIDER_HEIGHT = 84;

/** Colors of bars: what is missed must stand out here, not fade as in the tier view. */
const BAR_COLORS: Readonly<Record<TierName, string>> = {
  ...TIER_COLORS,
  dropped: "#d55e00",
  host: "#cc79a7",
};

/**
 * Draws the attention of each step by token, colored by what the cache held of it. The first step shown
 * is the one that misses most.
 *
 * @param steps Steps of one head.
 * @param options Title, labels and caption.
 * @returns The figure, for `show`.
 */
export function sliderView(steps: readonly DropStep[], options: SliderViewOptions): NamedPlot {
  const { name, title, labels, caption } = options;
  const worst = steps.reduce(
    (best, { missed }, step) => missed > steps[best]!.missed ? step : best,
    0,
  );
  const shown = { labels, tiers: tiersOf(steps) };
  const layout = figureLayout({
    name,
    title,
    kind: "bar",
    xTitle: "token position",
    yTitle: "attention of the full cache",
    series: shown.tiers.map((label) => ({ label, x: [], y: [] })),
    paper: [],
  }, { caption });
  const label = ({ position, missed }: DropStep) =>
    `${labels[position]} (${Math.round(100 * missed)} %)`;
  const slider = {
    active: worst,
    x: 0,
    len: 0.94,
    y: 0,
    yanchor: "top",
    pad: { t: 46, b: 0 },
    currentvalue: { prefix: "step reads (and misses): ", font: { size: 13 } },
    steps: steps.map((step) => ({
      label: label(step),
      method: "restyle",
      args: [changes(step, shown)],
    })),
  };
  const margin = layout["margin"] as { readonly b: number };
  const [note] = layout["annotations"] as unknown as ({ readonly yshift: number } | undefined)[];
  const highest = Math.max(...steps.flatMap(({ row }) => Array.from(row)));
  return {
    name,
    text: `Figure with a slider: ${[title, caption].filter(Boolean).join(". ")}`,
    plot: {
      data: traces(steps[worst]!, shown),
      layout: {
        ...layout,
        barmode: "overlay",
        bargap: 0,
        xaxis: { ...layout["xaxis"] as Trace, range: [-1, labels.length] },
        yaxis: { ...layout["yaxis"] as Trace, range: [0, rounded(1.12 * highest)] },
        margin: { ...margin, b: margin.b + SLIDER_HEIGHT },
        annotations: note ? [{ ...note as object, yshift: note.yshift - SLIDER_HEIGHT }] : [],
        sliders: [slider] as unknown as JsonValue,
      },
    },
  };
}

/** What all steps show. */
interface Shown {
  readonly labels: readonly string[];
  readonly tiers: readonly TierName[];
}

/** Tiers that some token has at some step. */
function tiersOf(steps: readonly DropStep[]): TierName[] {
  const used = new Set(steps.flatMap(({ tiers }) => [...tiers]));
  return TIER_NAMES.filter((name) => used.has(TIER[name]));
}

/** What a step changes in all traces; frames would do too, but not all front ends pass them to Plotly. */
function changes(step: DropStep, shown: Shown): Trace {
  const all = traces(step, shown);
  const of = (key: string) => all.map((trace) => trace[key]!);
  return { x: of("x"), y: of("y"), text: of("text"), customdata: of("customdata") };
}

/** One trace per tier, with its tokens only; tokens that are needed most and not there are labeled. */
function traces({ row, tiers }: DropStep, { labels, tiers: names }: Shown): Trace[] {
  const tall = 0.2 * Math.max(...row);
  return names.map((name) => {
    const positions = labels.map((_, position) => position)
      .filter((position) => tiers[position] === TIER[name] && row[position]! > 1e-4);
    const isGone = name === "dropped" || name === "host";
    return {
      type: "bar",
      name,
      // A bar outside of the picture, since tiers without bars would be missing from the legend.
      x: [-10, ...positions],
      y: [0, ...positions.map((position) => rounded(row[position]!))],
      text: [
        "",
        ...positions.map((position) => isGone && row[position]! > tall ? labels[position]! : ""),
      ],
      textposition: "outside",
      textangle: 0,
      constraintext: "none",
      cliponaxis: false,
      customdata: ["", ...positions.map((position) => labels[position]!)],
      hovertemplate: "%{customdata}<br>attention %{y:.3f}",
      width: 1.6,
      marker: { color: BAR_COLORS[name] },
    };
  });
}

function rounded(value: number): number {
  return Number(value.toPrecision(3));
}
