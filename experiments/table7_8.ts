/**
 * Tables 7 and 8: similarity by benchmark, the first tokens removed.
 *
 * @module
 */

import { mean } from "../core/stats.ts";
import { absoluteOf, trendOf } from "./claims.ts";
import { benchmarkContexts, pairWorkUnit, tracePair, WINDOW_TOKENS } from "./contexts.ts";
import type {
  Claim,
  DatasetName,
  Experiment,
  ExperimentContext,
  ExperimentResult,
  Figure,
  Measured,
  SummaryInput,
  WorkUnit,
} from "./experiment.ts";
import {
  CHOICE_LABELS,
  CHOICES,
  measuredMean,
  measureSimilarity,
  type SimilarityCell,
  similarityTable,
} from "./similarity.ts";

/** Key, id, benchmark, small model, large model, value. */
const PRINTED: readonly PrintedRow[] = [
  ["bbhQwen2", "C53", "bbh", "qwen2-0.5b", "qwen2-7b", 0.85],
  ["gsm8kQwen2", "C53", "gsm8k", "qwen2-0.5b", "qwen2-7b", 0.85],
  ["mmluQwen2", "C53", "mmlu", "qwen2-0.5b", "qwen2-7b", 0.98],
  ["bbhQwen3", "C53", "bbh", "qwen3-0.6b", "qwen3-8b", 0.83],
  ["bbhHalfOf14", "C53", "bbh", "qwen2.5-0.5b", "qwen2.5-14b", 0.83],
  ["bbhOneAndHalfOf14", "C53", "bbh", "qwen2.5-1.5b", "qwen2.5-14b", 0.83],
  ["bbhThreeOf14", "C54", "bbh", "qwen2.5-3b", "qwen2.5-14b", 0.85],
  ["bbhSevenOf72", "C54", "bbh", "qwen2-7b", "qwen2-72b", 0.81],
  ["bbhSevenOf14", "C54", "bbh", "qwen2.5-7b", "qwen2.5-14b", 0.86],
  ["bbhCrossFamily", "C54", "bbh", "llama-3.2-1b", "qwen2-7b", 0.56],
  ["bbhLlama", "C54", "bbh", "llama-3.2-1b", "llama-3.1-8b", 0.98],
];

type PrintedRow = readonly [string, "C53" | "C54", DatasetName, string, string, number];

/** Benchmarks of the tables. */
const BENCHMARKS: readonly DatasetName[] = ["bbh", "gsm8k", "mmlu"];

/** Tables 7 and 8. */
export const table7And8: Experiment = {
  name: "table7_8",
  module: import.meta.url,
  title: "Similarity by benchmark",
  question:
    "How similar are matched heads on benchmark prompts, once the first tokens are removed?",
  source: "Tables 7 and 8",
  inputs: ["large", "small", "bbh", "gsm8k", "mmlu", "microworld"],
  claims: {
    ...Object.fromEntries(PRINTED.map((row) => [row[0], printedClaim(row)])),
    gainOverRandom: gainClaim("that of random small heads"),
    gainOverMean: gainClaim("that with the mean of all small heads"),
    sinkGain: trendOf("C58", "cosine with all tokens minus cosine without the first 4"),
  },
  async plan(context) {
    const datasets = context.isDefaultPair ? ["microworld" as const] : BENCHMARKS;
    const plans = await Promise.all(datasets.map((dataset) => planDataset(context, dataset)));
    return plans.flat();
  },
  summarise,
};

function printedClaim([, id, benchmark, small, large, paper]: PrintedRow): Claim {
  return absoluteOf(id, {
    paper,
    tolerance: 0.02,
    statement: `cosine without the first 4 tokens, ${benchmark}, ${small} for ${large}`,
    source: id === "C53" ? "Table 7" : "Table 8",
    pairs: [{ small, large }],
  });
}

function gainClaim(baseline: string): Claim {
  return trendOf("C53", `cosine of matched heads without the first 4 tokens minus ${baseline}`);
}

async function planDataset(context: ExperimentContext, dataset: DatasetName): Promise<WorkUnit[]> {
  const prompts = await benchmarkContexts(context, dataset);
  return prompts.map(({ id: prompt, group, tokens }) => {
    const id = `${dataset}/${prompt}`;
    return pairWorkUnit(id, tokens, async (context) => {
      const saliency = await tracePair(context, tokens, [WINDOW_TOKENS]);
      const pair = saliency(Math.min(WINDOW_TOKENS, tokens.length));
      return measureSimilarity(pair, { id, group, seed: context.seed });
    });
  });
}

function summarise(input: SummaryInput): ExperimentResult {
  const cells = input.units.map(({ value }) => value as unknown as SimilarityCell);
  const names = [...new Set(cells.map(({ id }) => datasetOf(id)))];
  const average = (from: readonly SimilarityCell[], read: Reading) =>
    measuredMean(from.map(read), { seed: input.seed });
  const byDataset = new Map(names.map((name) => {
    const own = cells.filter(({ id }) => datasetOf(id) === name);
    return [name, average(own, ({ withoutFirst }) => withoutFirst.jaccard.cosine)!];
  }));
  const gains = {
    gainOverRandom: average(
      cells,
      ({ withoutFirst: { jaccard, random } }) => jaccard.cosine - random.cosine,
    )!,
    gainOverMean: average(
      cells,
      ({ withoutFirst: { jaccard, mean } }) => jaccard.cosine - mean.cosine,
    )!,
    sinkGain: average(
      cells,
      ({ all, withoutFirst }) => all.jaccard.cosine - withoutFirst.jaccard.cosine,
    )!,
  };
  return {
    values: { ...printedValues(byDataset, input), ...gains },
    tables: names.map((name) =>
      similarityTable(cells.filter(({ id }) => datasetOf(id) === name), {
        name: `table7_8_${name}`,
        title: `Similarity of heads on ${name}, mean over heads and prompts`,
        seed: input.seed,
      })
    ),
    figures: [choiceFigure(cells)],
    notes: [
      "Matched on the first 200 tokens of each prompt; prompts are those of few-shot practice, " +
      "as the paper names none.",
      input.isDefaultPair
        ? "The embedded pair knows only its own world, so its tasks stand in for the benchmarks."
        : "Rows of pairs that were not run stay open.",
    ],
  };
}

type Reading = (cell: SimilarityCell) => number;

/** Values for the rows of this pair; for a pair the paper does not have, its main rows show ours. */
function printedValues(
  byDataset: ReadonlyMap<string, Measured>,
  input: SummaryInput,
): Record<string, Measured> {
  const name = (model: { readonly name: string }) =>
    model.name.toLowerCase().replaceAll(/[^a-z0-9.]+/g, "-");
  const isPair = (row: PrintedRow) =>
    name(input.small).includes(row[3]) && name(input.large).includes(row[4]);
  const own = PRINTED.filter(isPair);
  const shown = own.length > 0 ? own : PRINTED.slice(0, 3);
  const entries = shown.flatMap(([key, , benchmark]) => {
    const measured = byDataset.get(benchmark);
    return measured === undefined ? [] : [[key, measured] as const];
  });
  return Object.fromEntries(entries);
}

function datasetOf(id: string): string {
  return id.slice(0, id.indexOf("/"));
}

function choiceFigure(cells: readonly SimilarityCell[]): Figure {
  const groups = [...new Set(cells.map(({ id, group }) => groupOf(id, group)))];
  const valueOf = (name: string, choice: typeof CHOICES[number]) =>
    mean(
      cells.filter(({ id, group }) => groupOf(id, group) === name)
        .map(({ withoutFirst }) => withoutFirst[choice].cosine),
    );
  return {
    name: "table7_8_choices",
    title: "Similarity by benchmark, beside its null models",
    kind: "bar",
    xTitle: "benchmark",
    yTitle: "mean cosine without the first 4 tokens",
    series: CHOICES.map((choice) => ({
      label: CHOICE_LABELS[choice],
      x: groups,
      y: groups.map((name) => valueOf(name, choice)),
    })),
    paper: [{ label: "paper: BBH, GSM8K", y: 0.85 }, { label: "paper: MMLU", y: 0.98 }],
  };
}

/** Tasks of the embedded world are shown one by one, benchmarks as a whole. */
function groupOf(id: string, group: string): string {
  const dataset = datasetOf(id);
  return dataset === "microworld" ? group : dataset;
}
