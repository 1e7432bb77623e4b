/**
 * Which tokens a cache held, step by step.
 *
 * @module
 */

import { escapeText } from "../../experiments/figures/layout.ts";
import type { Figure } from "../../experiments/result.ts";
import { type NamedPlot, namedPlot } from "./named_plot.ts";
import { TIER_COLORS, TIERS } from "./tiers.ts";

/** One step of a tier view. */
export interface TierStep {
  /** Its label, for example the token that the step read. */
  readonly label: string;
  /** Tier of each token, as `tiersOf` gives them. */
  readonly tiers: ArrayLike<number>;
}

/** What a tier view needs besides the steps. */
export interface TierViewOptions {
  /** File stem. */
  readonly name: string;
  /** Heading. */
  readonly title: string;
  /** Label of each token. */
  readonly labels: readonly string[];
  /** Sentences below the picture. */
  readonly caption?: string;
}

/**
 * Draws one row per step and one column per token; hovering names step, token and tier.
 *
 * @param steps The steps, first one on top.
 * @param options Title, labels and caption.
 * @returns The figure, for `show`.
 */
export function tierView(steps: readonly TierStep[], options: TierViewOptions): NamedPlot {
  const { name, title, labels, caption } = options;
  const figure: Figure = {
    name,
    title,
    kind: "heatmap",
    xTitle: "token position",
    yTitle: "decode step (token it reads)",
    zTitle: "",
    series: [{
      label: "tier",
      x: labels.map((_, position) => position),
      y: steps.map(({ label }) => label),
    }],
    paper: [],
  };
  const named = namedPlot(figure, caption);
  const { data, layout } = named.plot;
  const used = TIERS.map((_, tier) => tier)
    .filter((tier) => steps.some(({ tiers }) => Array.from(tiers).includes(tier)));
  const trace = {
    ...data[0]!,
    z: steps.map(({ tiers }) => Array.from(tiers, (tier) => used.indexOf(tier))),
    zmin: -0.5,
    zmax: used.length - 0.5,
    colorscale: used.flatMap((tier, index): [number, string][] => [
      [index / used.length, TIER_COLORS[tier]!],
      [(index + 1) / used.length, TIER_COLORS[tier]!],
    ]),
    colorbar: {
      tickvals: used.map((_, index) => index),
      ticktext: used.map((tier) => TIERS[tier]!),
      thickness: 14,
    },
    text: steps.map(({ tiers }) =>
      labels.map((label, position) => `${escapeText(label)}: ${TIERS[tiers[position]!]}`)
    ),
    hovertemplate: "step %{y}<br>%{text}<extra></extra>",
  };
  const yaxis = { ...layout["yaxis"] as object, type: "category", autorange: "reversed" };
  return { ...named, plot: { data: [trace], layout: { ...layout, yaxis } } };
}
