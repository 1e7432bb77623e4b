/**
 * One step at a time, with a slider: where attention goes and what the cache still holds.
 *
 * @module
 */

import type { JsonValue } from "../../core/json.ts";
import { figureLayout, type Trace } from "../../experiments/figures/layout.ts";
import type { DropStep } from "../drop_timeline.ts";
import type { NamedPlot } from "./named_plot.ts";
import { TIER, TIER_COLORS, TIERS } from "./tiers.ts";

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

/** Tiers that bars can have; later tokens have no attention. */
const SHOWN = [0, 1, 2, 3] as const;
/** Room for the slider below the axis, in pixels. */
const SLIDER_HEIGHT = 84;

/** Colors of bars: what is missed must stand out here, not fade as in the tier view. */
const BAR_COLORS = ["#d55e00", ...TIER_COLORS.slice(1)];

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
  const layout = figureLayout({
    name,
    title,
    kind: "bar",
    xTitle: "token position",
    yTitle: "attention of the full cache",
    series: SHOWN.map((tier) => ({ label: TIERS[tier], x: [], y: [] })),
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
      args: [changes(step, labels)],
    })),
  };
  const margin = layout["margin"] as { readonly b: number };
  const [note] = layout["annotations"] as unknown as ({ readonly yshift: number } | undefined)[];
  const highest = Math.max(...steps.flatMap(({ row }) => Array.from(row)));
  return {
    name,
    text: `Figure with a slider: ${[title, caption].filter(Boolean).join(". ")}`,
    plot: {
      data: traces(steps[worst]!, labels),
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

/** What a step changes in all traces; frames would do too, but not all front ends pass them to Plotly. */
function changes(step: DropStep, labels: readonly string[]): Trace {
  const all = traces(step, labels);
  const of = (key: string) => all.map((trace) => trace[key]!);
  return { x: of("x"), y: of("y"), text: of("text"), customdata: of("customdata") };
}

/** One trace per tier, with its tokens only; the dropped tokens that are needed most are labeled. */
function traces({ row, tiers }: DropStep, labels: readonly string[]): Trace[] {
  const tall = 0.2 * Math.max(...row);
  return SHOWN.map((tier) => {
    const positions = labels.map((_, position) => position)
      .filter((position) => tiers[position] === tier && row[position]! > 1e-4);
    return {
      type: "bar",
      name: TIERS[tier],
      // A bar outside of the picture, since tiers without bars would be missing from the legend.
      x: [-10, ...positions],
      y: [0, ...positions.map((position) => rounded(row[position]!))],
      text: [
        "",
        ...positions.map((position) =>
          tier === TIER.dropped && row[position]! > tall ? labels[position]! : ""
        ),
      ],
      textposition: "outside",
      textangle: 0,
      constraintext: "none",
      cliponaxis: false,
      customdata: ["", ...positions.map((position) => labels[position]!)],
      hovertemplate: "%{customdata}<br>attention %{y:.3f}",
      width: 1.6,
      marker: { color: BAR_COLORS[tier]! },
    };
  });
}

function rounded(value: number): number {
  return Number(value.toPrecision(3));
}
