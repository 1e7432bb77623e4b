/**
 * Fig. 2: how attention is spread over tokens ranked by what they receive.
 *
 * @module
 */

import { type Interval, meanInterval, ratioInterval } from "../core/bootstrap.ts";
import { mean } from "../core/stats.ts";
import { binRatio, saliencyBins, topSaliencyShare } from "../analysis/bins.ts";
import { type HeadSaliency, saliencyOfHead } from "../analysis/head_saliency.ts";
import { totalSaliency } from "../analysis/null_match.ts";
import { absoluteOf, trendOf } from "./claims.ts";
import { benchmarkContexts, traceRole, WINDOW_TOKENS } from "./contexts.ts";
import type {
  Experiment,
  ExperimentContext,
  ExperimentResult,
  Figure,
  PaperPair,
  ResultTable,
  SummaryInput,
  WorkUnit,
} from "./experiment.ts";
import { lineOf, tableOf } from "./result.ts";
import { round, rounded, seeded, SINK_TOKENS } from "./similarity.ts";

/** What is stored of one prompt. */
type SpreadCell = {
  /** Task of the prompt. */
  readonly group: string;
  /** Tokens of the prompt. */
  readonly tokens: number;
  /** Percent of all attention in each 5 % of the tokens, most salient first. */
  readonly bins: readonly number[];
  /** The same without the first four tokens. */
  readonly binsWithoutFirst: readonly number[];
  /** Percent of each layer's attention on its top 5 % of tokens. */
  readonly layers: readonly number[];
  /** Percent of a head's attention on its own top 5 %, mean over heads. */
  readonly heads: number;
};

/** Any small model: only the large model is measured. */
const LARGE_14B: readonly PaperPair[] = [{ large: "qwen2.5-14b", small: "" }];

/** Fig. 2. */
export const fig2: Experiment = {
  name: "fig2",
  module: import.meta.url,
  title: "Attention over ranked tokens",
  question: "How steeply does attention fall from the most salient tokens to the next ones?",
  source: "Fig. 2",
  inputs: ["large", "bbh", "microworld"],
  claims: {
    firstOverSecond: absoluteOf("C04", { tolerance: 1, pairs: LARGE_14B }),
    secondOverThird: absoluteOf("C05", { tolerance: 0.1, pairs: LARGE_14B }),
    steepStart: trendOf(
      "C04",
      "first ratio minus second ratio: the curve is steep only at its start",
    ),
    topShare: absoluteOf("C60", {
      unit: "%",
      statement: "attention on the top 5 % of the tokens, mean over layers",
      note: "Cited without a definition, so ours is shown and not judged.",
    }),
  },
  async plan(context) {
    const dataset = context.isDefaultPair ? "microworld" : "bbh";
    const prompts = await benchmarkContexts(context, dataset);
    return prompts.map(({ id, group, tokens }): WorkUnit => ({
      key: id,
      work: { large: tokens.length },
      inputs: { tokens },
      run: (context) => measurePrompt(context, tokens, { group }),
    }));
  },
  summarise,
};

async function measurePrompt(
  context: ExperimentContext,
  tokens: readonly number[],
  options: { readonly group: string },
): Promise<SpreadCell> {
  // The checkpoint serves Tables 7 and 8, which read the same trace.
  const saliency = (await traceRole(context, "large", tokens, [WINDOW_TOKENS]))();
  const total = totalSaliency(saliency);
  return {
    group: options.group,
    tokens: tokens.length,
    bins: binShares(total),
    binsWithoutFirst: binShares(total.subarray(SINK_TOKENS)),
    layers: layerShares(saliency),
    heads: round(headShare(saliency)),
  };
}

function binShares(saliency: Float32Array): number[] {
  const bins = saliencyBins(saliency);
  const total = bins.reduce((sum, value) => sum + value, 0);
  return rounded(bins.map((value) => 100 * value / total));
}

function layerShares(saliency: HeadSaliency): number[] {
  const { layers, queryHeads, tokens, accumulated } = saliency;
  const size = queryHeads * tokens;
  return rounded(Array.from({ length: layers }, (_, layer) => {
    const own = accumulated.subarray(layer * size, (layer + 1) * size);
    const total = totalSaliency({ layers: 1, queryHeads, tokens, accumulated: own });
    return 100 * topSaliencyShare(total);
  }));
}

function headShare(saliency: HeadSaliency): number {
  const heads = saliency.layers * saliency.queryHeads;
  const shares = Array.from(
    { length: heads },
    (_, head) => 100 * topSaliencyShare(saliencyOfHead(saliency, head)),
  );
  return mean(shares);
}

function summarise(input: SummaryInput): ExperimentResult {
  const cells = input.units.map(({ value }) => value as unknown as SpreadCell);
  const average: Average = (values) => meanInterval(values, seeded({ seed: input.seed }));
  const bins = cells.map((cell) => cell.bins);
  const steps = bins.map(([first, second, third]) => first! / second! - second! / third!);
  const lengths = cells.map(({ tokens }) => tokens);
  const headShares = mean(cells.map(({ heads }) => heads)).toFixed(1);
  return {
    values: {
      firstOverSecond: ratio(bins, 0, input),
      secondOverThird: ratio(bins, 1, input),
      steepStart: average(steps),
      topShare: average(cells.map(({ layers }) => mean(layers))),
    },
    tables: [ratioTable(cells, input)],
    figures: [binFigure(cells, average), layerFigure(cells, average)],
    notes: [
      `Prompts of ${Math.min(...lengths)} to ${Math.max(...lengths)} tokens; ` +
      `heads are summed before ranking.`,
      `A single head holds ${headShares} % of its attention on its own top 5 % of the tokens.`,
    ],
  };
}

/** Mean over prompts with its interval. */
type Average = (values: readonly number[]) => Interval;

/** Ratio of sums of one bin and the next, over all prompts. */
function ratio(bins: readonly (readonly number[])[], above: number, input: SummaryInput): Interval {
  return ratioInterval(
    bins.map((shares) => shares[above]!),
    bins.map((shares) => shares[above + 1]!),
    seeded({ seed: input.seed }),
  );
}

function ratioTable(cells: readonly SpreadCell[], input: SummaryInput): ResultTable {
  const sets = [
    { tokens: "all", bins: cells.map((cell) => cell.bins) },
    {
      tokens: `without the first ${SINK_TOKENS}`,
      bins: cells.map((cell) => cell.binsWithoutFirst),
    },
  ];
  const groups = [
    { name: "0-5 % over 5-10 %", paper: 7 },
    { name: "5-10 % over 10-15 %", paper: 1.34 },
  ];
  const rows = sets.flatMap(({ tokens, bins }) =>
    groups.map(({ name, paper }, above) => ({
      "groups": name,
      "tokens": tokens,
      "paper": paper,
      "ratio of sums": ratio(bins, above, input),
      "mean of ratios": binRatio(bins, { above, below: above + 1 }).meanOfRatios,
    }))
  );
  const title = "Attention of one group of ranked tokens over that of the next";
  return tableOf("fig2_ratios", title, rows);
}

function binFigure(cells: readonly SpreadCell[], average: Average): Figure {
  const x = cells[0]!.bins.map((_, bin) => `${5 * bin}-${5 * bin + 5} %`);
  const points = (label: string, read: (cell: SpreadCell) => readonly number[]) =>
    lineOf(
      label,
      x,
      x.map((_, bin) => average(cells.map((cell) => read(cell)[bin]!))),
    );
  return {
    name: "fig2_bins",
    title: "Attention by rank of the token",
    kind: "line",
    xTitle: "rank of the tokens (% of the prompt)",
    yTitle: "share of all attention (%)",
    isLog: true,
    series: [
      points("all tokens", ({ bins }) => bins),
      points(`without the first ${SINK_TOKENS}`, ({ binsWithoutFirst }) => binsWithoutFirst),
    ],
    paper: [],
  };
}

function layerFigure(cells: readonly SpreadCell[], average: Average): Figure {
  const x = cells[0]!.layers.map((_, layer) => layer);
  const means = x.map((layer) => average(cells.map(({ layers }) => layers[layer]!)));
  return {
    name: "fig2_layers",
    title: "Attention on the top 5 % of the tokens, by layer",
    kind: "line",
    xTitle: "layer",
    yTitle: "share of the layer's attention (%)",
    series: [lineOf("large model", x, means)],
    paper: [],
  };
}
