/**
 * Fig. 8: cosine of every large head with its match, on many contexts.
 *
 * @module
 */

import { type Interval, ratioInterval } from "../core/bootstrap.ts";
import { mean } from "../core/stats.ts";
import { absoluteOf, MAIN_PAIR, trendOf } from "./claims.ts";
import { pairWorkUnit, similarityContexts, tracePair } from "./contexts.ts";
import type { Experiment, ExperimentResult, Figure, SummaryInput } from "./experiment.ts";
import { lineOf, tableOf } from "./result.ts";
import {
  layerMeans,
  measuredMean,
  measureSimilarity,
  seeded,
  type SimilarityCell,
} from "./similarity.ts";

/** Width of a bar of the histogram. */
const BIN = 0.05;

/** Fig. 8. */
export const fig8: Experiment = {
  name: "fig8",
  module: import.meta.url,
  title: "Similarity of every head on every context",
  question: "Which share of the heads has a close match, and in which layers?",
  source: "Fig. 8",
  inputs: ["large", "small", "wikitext2", "microworld"],
  claims: {
    above90: absoluteOf("C48", { tolerance: 5, pairs: MAIN_PAIR }),
    above80: absoluteOf("C49", { tolerance: 2, pairs: MAIN_PAIR }),
    below50: absoluteOf("C50", { tolerance: 0.5, pairs: MAIN_PAIR }),
    laterLayers: trendOf(
      "C48",
      "mean cosine of the later half of the layers minus that of the earlier half",
      { unit: "" },
    ),
  },
  async plan(context) {
    const contexts = await similarityContexts(context);
    return contexts.map(({ id, group, tokens }) =>
      pairWorkUnit(id, tokens, async (context) => {
        const pair = (await tracePair(context, tokens))();
        return measureSimilarity(pair, { id, group, seed: context.seed });
      })
    );
  },
  summarise,
};

/** Shares that the paper prints, in percent. */
const RULES: readonly {
  readonly label: string;
  readonly isCounted: (cosine: number) => boolean;
  readonly paper: number;
}[] = [
  { label: "above 0.9", isCounted: (cosine) => cosine > 0.9, paper: 78.22 },
  { label: "above 0.8", isCounted: (cosine) => cosine > 0.8, paper: 96.21 },
  { label: "below 0.5", isCounted: (cosine) => cosine < 0.5, paper: 0.02 },
];

function summarise(input: SummaryInput): ExperimentResult {
  const cells = input.units.map(({ value }) => value as unknown as SimilarityCell);
  const shares = RULES.map((rule) => ({
    ...rule,
    all: share(cells.map(({ heads }) => heads), rule.isCounted, input),
    rest: share(cells.map(({ headsWithoutFirst }) => headsWithoutFirst), rule.isCounted, input),
  }));
  const layers = cells.map(({ heads }) => layerMeans(heads, input.large.queryHeads));
  const [above90, above80, below50] = shares;
  return {
    values: {
      above90: above90!.all,
      above80: above80!.all,
      below50: below50!.all,
      laterLayers: measuredMean(layers.map(laterMinusEarlier), {
        seed: input.seed,
      })!,
    },
    tables: [
      tableOf(
        "fig8_shares",
        "Share of head cosines, percent of all heads and contexts",
        shares.map(({ label, paper, all, rest }) => ({
          "cosine": label,
          "paper": paper,
          "all tokens": all,
          "without the first 4": rest,
        })),
      ),
    ],
    figures: [heatMap(cells), histogram(cells), layerFigure(layers, input.seed)],
    notes: ["Intervals resample contexts; the heads of one context stay together."],
  };
}

function share(
  contexts: readonly (readonly number[])[],
  isCounted: (cosine: number) => boolean,
  input: SummaryInput,
): Interval {
  const counts = contexts.map((heads) => 100 * heads.filter(isCounted).length);
  const options = seeded({ seed: input.seed });
  return ratioInterval(counts, contexts.map((heads) => heads.length), options);
}

function laterMinusEarlier(layers: readonly number[]): number {
  const half = layers.length >> 1;
  return half === 0 ? 0 : mean(layers.slice(layers.length - half)) - mean(layers.slice(0, half));
}

function heatMap(cells: readonly SimilarityCell[]): Figure {
  const heads = cells[0]!.heads.map((_, head) => head);
  return {
    name: "fig8_map",
    title: "Cosine of each large head with its match",
    kind: "heatmap",
    xTitle: "context",
    yTitle: "large head (layer * query heads + head)",
    zTitle: "cosine",
    series: [{
      label: "cosine",
      x: cells.map((_, index) => index),
      y: heads,
      z: heads.map((head) => cells.map((cell) => cell.heads[head]!)),
    }],
    paper: [],
  };
}

function histogram(cells: readonly SimilarityCell[]): Figure {
  const bins = Math.round(1 / BIN);
  const percent = (lists: readonly (readonly number[])[]) => {
    const counts = new Array<number>(bins).fill(0);
    const all = lists.flat();
    for (const cosine of all) {
      counts[Math.max(0, Math.min(bins - 1, Math.floor(cosine / BIN + 1e-9)))]!++;
    }
    return counts.map((count) => 100 * count / all.length);
  };
  const x = Array.from({ length: bins }, (_, bin) => +(bin * BIN).toFixed(2));
  return {
    name: "fig8_histogram",
    title: "Distribution of head cosines",
    kind: "histogram",
    xTitle: "cosine",
    yTitle: "heads and contexts (%)",
    series: [
      { label: "all tokens", x, y: percent(cells.map(({ heads }) => heads)) },
      {
        label: "without the first 4",
        x,
        y: percent(cells.map(({ headsWithoutFirst }) => headsWithoutFirst)),
      },
    ],
    paper: [{ label: "paper: 78.22 % above", x: 0.9 }, { label: "paper: 96.21 % above", x: 0.8 }],
  };
}

function layerFigure(contexts: readonly (readonly number[])[], seed: number): Figure {
  const x = contexts[0]!.map((_, layer) => layer);
  const means = x.map((layer) => measuredMean(contexts.map((layers) => layers[layer]!), { seed })!);
  return {
    name: "fig8_layers",
    title: "Similarity by layer of the large model",
    kind: "line",
    xTitle: "layer",
    yTitle: "mean cosine",
    series: [lineOf("matched by Jaccard", x, means)],
    paper: [],
  };
}
