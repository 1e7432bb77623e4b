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
import { compareViews, firstKeptTokens, mergeDropSaliency } from "../analysis/saliency_shift.ts";
import { claimOf } from "./claims.ts";
import {
  blockCheckpoints,
  saliencyAt,
  shiftBlocks,
  tracePair,
  traceRole,
  WINDOW_TOKENS,
} from "./contexts.ts";
import type { Experiment, ExperimentContext, PaperPair, Unit } from "./experiment.ts";
import {
  type DropCell,
  type Fig1bKey,
  type Guide,
  type GuidedCell,
  summariseShift,
} from "./fig1b_summary.ts";
import { matchBothWays, rounded, type SaliencyPair } from "./similarity.ts";
import { sizesOf } from "./sizes.ts";

/** Any helper: the drop concerns the large model alone. */
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
    lowestBudget: claimOf("C01", {
      kind: "absolute",
      paper: 0.55,
      tolerance: 0.05,
      statement: "Jaccard of the salient sets at the lowest budget",
      pairs: LARGE_7B,
      note: "The paper's budgets are not readable; ours run from 10 to 90 %.",
    }),
    highestBudget: claimOf("C01", {
      kind: "absolute",
      paper: 0.77,
      tolerance: 0.05,
      statement: "Jaccard of the salient sets at the highest budget",
      pairs: LARGE_7B,
      note: "The paper's budgets are not readable; ours run from 10 to 90 %.",
    }),
    rise: claimOf("C01", {
      kind: "trend",
      paper: null,
      statement: "Jaccard at the highest budget minus that at the lowest",
      expected: { above: 0 },
    }),
    aboveRandom: claimOf("C01", {
      kind: "trend",
      paper: null,
      statement: "Jaccard minus that of random sets, mean over budgets",
      expected: { above: 0 },
    }),
    guidedGain: claimOf("C01", {
      kind: "trend",
      paper: null,
      statement:
        "Jaccard with helper-guided sets minus that after the real drop, mean over budgets",
      expected: { above: 0 },
      note: "An extension: the paper argues for it and shows no number.",
    }),
  },
  async plan(context) {
    const blocks = await shiftBlocks(context);
    return blocks.flatMap(({ id, tokens }) => planBlock(context, { id, tokens }));
  },
  summarise: summariseShift,
};

/** A block's tokens. */
interface Block {
  readonly id: string;
  readonly tokens: readonly number[];
}

function planBlock(context: ExperimentContext, block: Block): Unit[] {
  const { id, tokens } = block;
  const budgets = sizesOf(context).shiftBudgets;
  const half = Math.floor(tokens.length / 2);
  const guided: Unit = {
    key: `guided/${id}`,
    work: { large: tokens.length, small: tokens.length },
    inputs: { tokens, budgets },
    run: (context) => measureGuided(context, { ...block, budgets }),
  };
  const drops = budgets.map((budgetRatio): Unit => ({
    key: `drop/${id}/${budgetRatio.toFixed(2)}`,
    work: { large: tokens.length - half },
    inputs: { tokens, budgetRatio },
    run: (context) => measureDrop(context, { ...block, budgetRatio }),
  }));
  return [guided, ...drops];
}

/** The paper's procedure for one budget: drop after the first half, go on, compare at the end. */
async function measureDrop(
  context: ExperimentContext,
  block: Block & { readonly budgetRatio: number },
): Promise<DropCell> {
  const { id, tokens, budgetRatio } = block;
  const { large, signal } = context;
  const firstTokens = Math.floor(tokens.length / 2);
  const checkpoints = blockCheckpoints(tokens.length);
  const trace = await traceRole(context, "large", { tokens, checkpoints });
  const first = saliencyAt(trace, large, { tokens: firstTokens });
  const full = saliencyAt(trace, large);
  const heads = Array.from({ length: trace.heads }, (_, head) => head);
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
  return { kind: "drop", id, budgetRatio, layers: layerMeans(jaccards, large.queryHeads) };
}

/** What the small model's full view would keep, against the large model's full view. */
async function measureGuided(
  context: ExperimentContext,
  block: Block & { readonly budgets: readonly number[] },
): Promise<GuidedCell> {
  const { id, tokens, budgets } = block;
  const saliency = await tracePair(context, tokens, {
    checkpoints: blockCheckpoints(tokens.length),
  });
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
    return rounded([mean(jaccards)])[0]!;
  };
  return {
    kind: "guided",
    id,
    budgets,
    overlaps: {
      jaccard: budgets.map((budget) => overlap(views.jaccard, budget)),
      cosine: budgets.map((budget) => overlap(views.cosine, budget)),
      group: budgets.map((budget) => overlap(views.group, budget)),
      random: budgets.map((budget) => overlap(views.random, budget)),
      total: budgets.map((budget) => overlap(views.total, budget)),
    },
  };
}

/** For each guide one ranking per large head. */
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

function layerMeans(values: readonly number[], queryHeads: number): number[] {
  const layers = values.length / queryHeads;
  return rounded(Array.from(
    { length: layers },
    (_, layer) => mean(values.slice(layer * queryHeads, (layer + 1) * queryHeads)),
  ));
}
