/**
 * Fig. 1b: salient tokens of a model whose cache was compressed once, against those of its full cache,
 * by a true forward pass; and what the small model's view would have chosen instead.
 *
 * @module
 */

import { mean } from "../core/stats.ts";
import { derivedSeed, randomInteger, seededRandom } from "../core/random.ts";
import { type HeadSaliency, saliencyOfHead } from "../analysis/head_saliency.ts";
import { totalSaliency } from "../analysis/null_match.ts";
import {
  compareViews,
  firstKeptTokens,
  mergeDropSaliency,
  randomJaccard,
} from "../analysis/saliency_shift.ts";
import { absoluteOf, trendOf } from "./claims.ts";
import {
  blockCheckpoints,
  pairWorkUnit,
  shiftBlocks,
  tracePair,
  traceRole,
  WINDOW_TOKENS,
} from "./contexts.ts";
import type {
  Experiment,
  ExperimentContext,
  ExperimentResult,
  Figure,
  Measured,
  PaperPair,
  ResultTable,
  Series,
  SummaryInput,
  WorkUnit,
} from "./experiment.ts";
import { exactly, lineOf } from "./result.ts";
import {
  defined,
  layerMeans,
  matchBothWays,
  measuredMean,
  round,
  rounded,
  type SaliencyPair,
} from "./similarity.ts";
import { sizesOf } from "./sizes.ts";

/** Any small model: the drop concerns the large model alone. */
const LARGE_7B: readonly PaperPair[] = [{ large: "qwen2-7b", small: "" }];

/** Fig. 1b. */
export const fig1b: Experiment = {
  name: "fig1b",
  module: import.meta.url,
  title: "Saliency shift",
  question: "Do the salient tokens of a compressed cache drift from those of the full cache?",
  source: "Fig. 1b",
  inputs: ["large", "small", "wikitext2", "microworld"],
  claims: {
    lowestBudget: absoluteOf("C01", {
      paper: 0.55,
      tolerance: 0.05,
      statement: "Jaccard of the salient sets at the lowest budget",
      pairs: LARGE_7B,
      note: "The paper's budgets are not readable; ours run from 10 to 90 %.",
    }),
    highestBudget: absoluteOf("C01", {
      paper: 0.77,
      tolerance: 0.05,
      statement: "Jaccard of the salient sets at the highest budget",
      pairs: LARGE_7B,
      note: "The paper's budgets are not readable; ours run from 10 to 90 %.",
    }),
    rise: trendOf("C01", "Jaccard at the highest budget minus that at the lowest"),
    aboveRandom: trendOf("C01", "Jaccard minus that of random sets, mean over budgets"),
    guidedGain: trendOf(
      "C01",
      "Jaccard with small-model-guided sets minus that after the real drop, mean over budgets",
      { note: "An extension: the paper argues for it and shows no number." },
    ),
  },
  async plan(context) {
    const blocks = await shiftBlocks(context);
    return blocks.flatMap(({ id, tokens }) => planBlock(context, { id, tokens }));
  },
  summarise,
};

/** A block's tokens. */
interface Block {
  readonly id: string;
  readonly tokens: readonly number[];
}

function planBlock(context: ExperimentContext, block: Block): WorkUnit[] {
  const { id, tokens } = block;
  const budgets = sizesOf(context).shiftBudgets;
  const half = Math.floor(tokens.length / 2);
  const guided = pairWorkUnit(
    `guided/${id}`,
    tokens,
    (context) => measureGuided(context, { ...block, budgets }),
    { budgets },
  );
  const drops = budgets.map((budgetRatio): WorkUnit => ({
    key: `drop/${id}/${budgetRatio.toFixed(2)}`,
    work: { large: tokens.length - half },
    inputs: { tokens, budgetRatio },
    run: (context) => measureDrop(context, { ...block, budgetRatio }),
  }));
  return [guided, ...drops];
}

/** The paper's procedure for one budget: drop after the first half, continue, compare at the end. */
async function measureDrop(
  context: ExperimentContext,
  block: Block & { readonly budgetRatio: number },
): Promise<DropCell> {
  const { id, tokens, budgetRatio } = block;
  const { large, signal } = context;
  const firstTokens = Math.floor(tokens.length / 2);
  const saliency = await traceRole(context, "large", tokens, blockCheckpoints(tokens.length));
  const [first, full] = [saliency(firstTokens), saliency()];
  const heads = Array.from({ length: large.layers * large.queryHeads }, (_, head) => head);
  const kept = heads.map((head) => firstKeptTokens(saliencyOfHead(first, head), budgetRatio));
  const later = await large.realDrop(tokens, { firstTokens, kept, signal });
  const second: HeadSaliency = { ...full, accumulated: later };
  const jaccards = heads.map((head) => {
    const dropped = mergeDropSaliency(saliencyOfHead(first, head), saliencyOfHead(second, head), {
      firstTokens,
      kept: kept[head]!,
    });
    return compareViews(saliencyOfHead(full, head), dropped, { budgetRatio }).jaccard;
  });
  return { kind: "drop", id, budgetRatio, layers: rounded(layerMeans(jaccards, large.queryHeads)) };
}

/** What the small model's full view would keep, against the large model's full view. */
async function measureGuided(
  context: ExperimentContext,
  block: Block & { readonly budgets: readonly number[] },
): Promise<GuidedCell> {
  const { id, tokens, budgets } = block;
  const saliency = await tracePair(context, tokens, blockCheckpoints(tokens.length));
  const views = guidingViews(saliency(), {
    matches: matchBothWays(saliency(Math.min(WINDOW_TOKENS, tokens.length))),
    groupSize: context.large.queryHeads / context.large.kvHeads,
    seed: derivedSeed(context.seed, `fig1b ${id}`),
  });
  const { large } = saliency();
  const heads = views.jaccard.map((_, head) => head);
  const overlap = (guide: readonly Float32Array[], budgetRatio: number) => {
    const jaccards = heads.map((head) =>
      compareViews(saliencyOfHead(large, head), guide[head]!, { budgetRatio }).jaccard
    );
    return round(mean(jaccards));
  };
  return {
    kind: "guided",
    id,
    budgets,
    overlaps: Object.fromEntries(
      GUIDES.map((guide) => [guide, budgets.map((budget) => overlap(views[guide], budget))]),
    ) as Record<Guide, number[]>,
  };
}

/** One ranking per large head, for each guide. */
function guidingViews(
  pair: SaliencyPair,
  options: {
    readonly matches: Record<"jaccard" | "cosine", Uint32Array>;
    readonly groupSize: number;
    readonly seed: number;
  },
): Record<Guide, Float32Array[]> {
  const { small } = pair;
  const { matches, groupSize, seed } = options;
  const views = (match: Uint32Array) => Array.from(match, (head) => saliencyOfHead(small, head));
  const random = seededRandom(seed);
  const smallHeads = small.layers * small.queryHeads;
  const drawn = matches.jaccard.map(() => randomInteger(random, smallHeads));
  const jaccard = views(matches.jaccard);
  const total = totalSaliency(small);
  return {
    jaccard,
    cosine: views(matches.cosine),
    group: jaccard.map((_, head) => {
      const start = head - head % groupSize;
      return sumOf(jaccard.slice(start, start + groupSize));
    }),
    random: views(drawn),
    total: jaccard.map(() => total),
  };
}

function sumOf(vectors: readonly Float32Array[]): Float32Array {
  return vectors[0]!.map((_, token) => vectors.reduce((sum, vector) => sum + vector[token]!, 0));
}

/** Whose ranking chooses the salient set; the last two are null models. */
const GUIDES = ["jaccard", "cosine", "group", "random", "total"] as const;

/** One of {@link GUIDES}. */
type Guide = typeof GUIDES[number];

/** Overlap with the full view after a real drop, one block and budget. */
type DropCell = {
  /** Which of the two cells this is. */
  readonly kind: "drop";
  /** Block. */
  readonly id: string;
  /** Share of tokens kept. */
  readonly budgetRatio: number;
  /** Mean Jaccard over the heads of each layer. */
  readonly layers: readonly number[];
};

/** Overlap of small-model-guided sets with the full view, one block. */
type GuidedCell = {
  /** Which of the two cells this is. */
  readonly kind: "guided";
  /** Block. */
  readonly id: string;
  /** Shares of tokens kept. */
  readonly budgets: readonly number[];
  /** Mean Jaccard over heads, by guide and budget. */
  readonly overlaps: Readonly<Record<Guide, readonly number[]>>;
};

const GUIDE_LABELS: Readonly<Record<Guide, string>> = {
  jaccard: "small-model-guided, matched by Jaccard (SmallKV)",
  cosine: "small-model-guided, matched by cosine",
  group: "small-model-guided, mean of each KV head's group",
  random: "null: random small head",
  total: "null: sum of all small heads",
};

const AFTER_DROP = "the model's own, after the real drop";

/** One block: its curve after the drop, and under each guide. */
interface BlockCurves {
  readonly drop: readonly number[];
  readonly guides: Readonly<Record<Guide, readonly number[]>>;
}

function summarise(input: SummaryInput): ExperimentResult {
  const cells = input.units.map(({ value }) => value as unknown as DropCell | GuidedCell);
  const guided = cells.filter((cell) => cell.kind === "guided");
  const drops = cells.filter((cell) => cell.kind === "drop");
  const budgets = guided[0]?.budgets ?? [];
  const blocks = guided.map(({ id, overlaps }): BlockCurves => ({
    drop: budgets.map((budget) =>
      mean(drops.find((cell) => cell.id === id && cell.budgetRatio === budget)!.layers)
    ),
    guides: overlaps,
  }));
  const lines = curves(blocks, { budgets, seed: input.seed });
  return {
    values: measuredValues(blocks, { budgets, seed: input.seed }),
    tables: [curveTable(lines)],
    figures: [curveFigure(lines), layerFigure(drops, budgets)],
    notes: [
      "Selection is per query head and has no recent window, as in the paper's measurement.",
      "Model-guided sets are ranked by the matched small head's accumulated attention over the " +
      "whole block; both sides are compared with the large model's own full view.",
    ],
  };
}

function measuredValues(
  blocks: readonly BlockCurves[],
  { budgets, seed }: CurveOptions,
): Record<string, Measured> {
  const average = (read: (block: BlockCurves) => number) =>
    measuredMean(blocks.map(read), { seed });
  const chance = mean(budgets.map(randomJaccard));
  return defined({
    lowestBudget: average(({ drop }) => drop[0]!),
    highestBudget: average(({ drop }) => drop.at(-1)!),
    rise: average(({ drop }) => drop.at(-1)! - drop[0]!),
    aboveRandom: average(({ drop }) => mean(drop) - chance),
    guidedGain: average(({ drop, guides }) => mean(guides.jaccard) - mean(drop)),
  });
}

interface CurveOptions {
  readonly budgets: readonly number[];
  readonly seed: number;
}

/** Lines with their interval at every budget. */
function curves(blocks: readonly BlockCurves[], { budgets, seed }: CurveOptions): Series[] {
  const x = budgets.map((budget) => Math.round(100 * budget));
  const curve = (label: string, read: (block: BlockCurves) => readonly number[]) => {
    const points = budgets.map((_, index) =>
      measuredMean(blocks.map((block) => read(block)[index]!), { seed })!
    );
    return lineOf(label, x, points);
  };
  const chance = budgets.map((budget) => exactly(randomJaccard(budget), blocks.length));
  return [
    curve(AFTER_DROP, ({ drop }) => drop),
    ...GUIDES.map((guide) => curve(GUIDE_LABELS[guide], ({ guides }) => guides[guide])),
    lineOf("random sets (expected)", x, chance),
  ];
}

function curveTable(lines: readonly Series[]): ResultTable {
  return {
    name: "fig1b_curves",
    title: "Jaccard with the salient set of the full cache, mean over heads and blocks",
    columns: ["salient set", "budget (%)", "Jaccard", "low", "high"],
    rows: lines.flatMap(({ label, x, y, low, high }) =>
      x.map((budget, index) => [label, budget, y[index]!, low![index]!, high![index]!])
    ),
  };
}

function curveFigure(series: readonly Series[]): Figure {
  return {
    name: "fig1b_curves",
    title: "Overlap with the salient tokens of the full cache",
    kind: "line",
    xTitle: "budget (% of tokens)",
    yTitle: "Jaccard similarity",
    // Matching by cosine lies on the curve of matching by Jaccard; the table has both.
    series: series.filter(({ label }) => label !== GUIDE_LABELS.cosine),
    paper: [{ label: "paper: 0.55 to 0.77", y: 0.55, yHigh: 0.77 }],
  };
}

function layerFigure(drops: readonly DropCell[], budgets: readonly number[]): Figure {
  const layers = (drops[0]?.layers ?? []).map((_, layer) => layer);
  return {
    name: "fig1b_layers",
    title: "Overlap after the real drop, by layer",
    kind: "heatmap",
    xTitle: "budget (% of tokens)",
    yTitle: "layer",
    zTitle: "Jaccard similarity",
    series: [{
      label: AFTER_DROP,
      x: budgets.map((budget) => Math.round(100 * budget)),
      y: layers,
      z: layers.map((layer) =>
        budgets.map((budget) =>
          mean(
            drops.filter((cell) => cell.budgetRatio === budget).map((cell) => cell.layers[layer]!),
          )
        )
      ),
    }],
    paper: [],
  };
}
