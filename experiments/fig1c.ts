/**
 * Fig. 1c: accumulated attention of a large head and of its matched small head.
 *
 * @module
 */

import type { JsonValue } from "../core/json.ts";
import { saliencyOfHead } from "../analysis/head_saliency.ts";
import { absoluteOf, MAIN_PAIR, trendOf } from "./claims.ts";
import { pairWorkUnit, similarityContexts, tracePair } from "./contexts.ts";
import type { Experiment, ExperimentResult, Figure, SummaryInput } from "./experiment.ts";
import {
  matchBothWays,
  measuredMean,
  measureSimilarity,
  rounded,
  type SaliencyPair,
  type SimilarityCell,
  similarityTable,
} from "./similarity.ts";

/** One pair of heads, for the picture. */
type HeadPairExample = {
  readonly large: readonly number[];
  readonly small: readonly number[];
  readonly label: string;
};

/** Fig. 1c. */
export const fig1c: Experiment = {
  name: "fig1c",
  module: import.meta.url,
  title: "Attention of matched heads",
  question: "How similar is each large head's accumulated attention to its matched small head's?",
  source: "Fig. 1c",
  inputs: ["large", "small", "wikitext2", "microworld"],
  claims: {
    meanCosine: absoluteOf("C02", { tolerance: 0.02, pairs: MAIN_PAIR }),
    gainOverRandom: trendOf("C02", "cosine of matched heads minus that of random small heads"),
    gainOverMean: trendOf(
      "C02",
      "cosine of matched heads minus that with the mean of all small heads",
    ),
    gainWithoutFirst: trendOf(
      "C02",
      "the same gain over the mean head, without the first 4 tokens",
    ),
  },
  async plan(context) {
    const contexts = await similarityContexts(context);
    return contexts.map(({ id, group, tokens }, index) => {
      const hasExample = index === 0;
      return pairWorkUnit(id, tokens, async (context) => {
        const pair = (await tracePair(context, tokens))();
        const cell = measureSimilarity(pair, { id, group, seed: context.seed });
        return { cell, example: hasExample ? exampleOf(pair, cell) : null };
      }, { hasExample });
    });
  },
  summarise,
};

function summarise(input: SummaryInput): ExperimentResult {
  const values = input.units.map(({ value }) => value as { [key: string]: JsonValue });
  const cells = values.map(({ cell }) => cell as unknown as SimilarityCell);
  const average = (read: (cell: SimilarityCell) => number) =>
    measuredMean(cells.map(read), { seed: input.seed })!;
  const example = values.find((value) => value.example !== null)?.example;
  return {
    values: {
      meanCosine: average(({ all }) => all.jaccard.cosine),
      gainOverRandom: average(({ all }) => all.jaccard.cosine - all.random.cosine),
      gainOverMean: average(({ all }) => all.jaccard.cosine - all.mean.cosine),
      gainWithoutFirst: average(({ withoutFirst }) =>
        withoutFirst.jaccard.cosine - withoutFirst.mean.cosine
      ),
    },
    tables: [
      similarityTable(cells, {
        name: "fig1c_similarity",
        title: "Similarity of heads, mean over heads and contexts, 95 % intervals over contexts",
        seed: input.seed,
      }),
    ],
    figures: example ? [exampleFigure(example as unknown as HeadPairExample)] : [],
    notes: [
      "The cosine by Jaccard matching is the paper's number; matching by cosine is its upper bound.",
      "Sinks and the causal profile are common to all heads: compare every similarity with its null models.",
    ],
  };
}

/** The head whose cosine is the median, so that the picture is neither the best nor the worst. */
function exampleOf(pair: SaliencyPair, cell: SimilarityCell): HeadPairExample {
  const order = cell.heads.map((_, head) => head)
    .sort((a, b) => cell.heads[a]! - cell.heads[b]! || a - b);
  const head = order[order.length >> 1]!;
  const other = matchBothWays(pair).jaccard[head]!;
  const name = (model: SaliencyPair["large"], flat: number) =>
    `layer ${Math.floor(flat / model.queryHeads)}, head ${flat % model.queryHeads}`;
  return {
    large: rounded(saliencyOfHead(pair.large, head)),
    small: rounded(saliencyOfHead(pair.small, other)),
    label: `large ${name(pair.large, head)}; small ${name(pair.small, other)}; ` +
      `cosine ${cell.heads[head]!.toFixed(3)}`,
  };
}

function exampleFigure(example: HeadPairExample): Figure {
  const x = example.large.map((_, token) => token);
  return {
    name: "fig1c_heads",
    title: `Accumulated attention of a matched pair (${example.label})`,
    kind: "line",
    xTitle: "token position",
    yTitle: "attention received (sum over rows)",
    isLog: true,
    series: [
      { label: "large model", x, y: example.large },
      { label: "small model, matched head", x, y: example.small },
    ],
    paper: [],
    contexts: 1,
    choice: "The first context, and there the head whose cosine is the median of all heads.",
  };
}
