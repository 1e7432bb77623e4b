/**
 * PyramidInfer as published: which prompt tokens pass from layer to layer, and which generated tokens stay.
 *
 * @see {@link https://github.com/mutonix/pyramidinfer | the official code}; docs/method.md, "Policies"
 * @module
 */

import { type CacheBudget, type CountRequest, halfEntries, type TierCounts } from "./budget.ts";
import {
  planBySaliency,
  type PlanView,
  type Policy,
  type PrunedLayer,
  type PruneView,
  type Selection,
} from "./policy.ts";
import { weightedMean, window } from "./scores/window.ts";

/** Settings of the official code. */
interface PyramidPreset {
  /** Share of the prompt, its newest tokens, that is always passed on. */
  readonly recentShare: number;
  /** Share of the context that the deepest layers pass on. */
  readonly promptDecay: number;
  /** Layers from one selection to the next. */
  readonly interval: number;
  /** Number of context tokens at or below which no more are dropped. */
  readonly leastContext: number;
  /** First tokens that are always passed on. */
  readonly sinks: number;
  /** Generated tokens that are compressed together. */
  readonly blockTokens: number;
  /** Share of a block that the first layer keeps. */
  readonly blockShare: number;
  /** Factor on that share in the deepest layers. */
  readonly blockDecay: number;
}

/** Weight of the newest row of attention over that of the oldest, in all presets. */
export const NEWEST_WEIGHT = 1.2;

const SMALL_PRESET: PyramidPreset = {
  recentShare: 0.2,
  promptDecay: 0.9,
  interval: 1,
  leastContext: 64,
  sinks: 4,
  blockTokens: 16,
  blockShare: 0.9,
  blockDecay: 0.1,
};

/**
 * The official settings for a model with some layers: those for 7-8B below 40, for 13B below 60, for 70B from 60 on.
 */
export function pyramidPreset(layers: number): PyramidPreset {
  if (layers < 40) return SMALL_PRESET;
  return layers < 60
    ? { ...SMALL_PRESET, promptDecay: 0.8, interval: 2 }
    : { ...SMALL_PRESET, interval: 3 };
}

/** What the pruning of a prompt depends on. */
interface PruningRequest extends Pick<CountRequest, "budget" | "promptTokens" | "layers"> {
  /** Tokens below which nothing is dropped; none if left out. */
  readonly minimumTokens?: number;
}

/** How many prompt tokens each layer keeps. */
interface PromptSizes {
  /** Tokens in each layer's cache, never more than in the layer before, [layers]. */
  readonly kept: readonly number[];
  /** Newest tokens that are always passed on; their rows of attention rank the others. */
  readonly recent: number;
}

/** A way to prune. */
interface Pruning {
  /** Sizes for a prompt. */
  readonly sizes: (request: PruningRequest) => PromptSizes;
}

/** The official schedule; a budget of 1 keeps the whole cache, and any other budget is ignored. */
export const OFFICIAL_PRUNING: Pruning = {
  sizes(request) {
    const { promptTokens, layers } = request;
    if (isWhole(request)) return wholePrompt(promptTokens, layers);
    return scheduleSizes(promptTokens, layers, pyramidPreset(layers));
  },
};

/**
 * The official schedule after a cut at the first layer, so that layers keep the budget on average.
 *
 * After the cut, the schedule runs as on a prompt of the remaining length. If the schedule alone drops more than the
 * budget requires, there is no cut, and it decays less.
 */
export const SCALED_PRUNING: Pruning = {
  sizes: rememberedSizes((request) => {
    const { budget, promptTokens, layers } = request;
    if (isWhole(request)) return wholePrompt(promptTokens, layers);
    const preset = pyramidPreset(layers);
    const allowed = layers * Math.max(1, Math.floor(halfEntries(budget, promptTokens) / 2));
    const fits = ({ kept }: PromptSizes) => kept.reduce((sum, size) => sum + size, 0) <= allowed;
    if (!fits(scheduleSizes(promptTokens, layers, preset))) {
      const cutTo = (tokens: number) => scheduleSizes(tokens, layers, preset);
      // At least two tokens: every row must see the first one, and the last one predicts.
      return cutTo(bisect(2, promptTokens, (tokens) => fits(cutTo(tokens))));
    }
    const decayBy = (steps: number) =>
      scheduleSizes(promptTokens, layers, {
        ...preset,
        promptDecay: preset.promptDecay + (1 - preset.promptDecay) * steps / DECAY_STEPS,
      });
    return decayBy(bisect(0, DECAY_STEPS, (steps) => fits(decayBy(steps))));
  }),
};

/** Caches the newest result: searching takes hundreds of steps, and every layer of every plan needs a prompt's sizes. */
function rememberedSizes(compute: Pruning["sizes"]): Pruning["sizes"] {
  let newest = "";
  let sizes: PromptSizes = { kept: [], recent: 0 };
  return (request) => {
    const { budget, promptTokens, layers, minimumTokens } = request;
    const key = JSON.stringify([budget, promptTokens, layers, minimumTokens]);
    if (newest !== key) sizes = compute(request);
    newest = key;
    return sizes;
  };
}

/** Number of decays to choose from between the preset's and none. */
const DECAY_STEPS = 4096;

/** Largest integer that fits, provided that all smaller ones fit too; `least` if none does. */
function bisect(least: number, most: number, fits: (value: number) => boolean): number {
  let [low, high] = [least, most];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (fits(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}

function scheduleSizes(tokens: number, layers: number, preset: PyramidPreset): PromptSizes {
  const recent = Math.floor(preset.recentShare * tokens + 1e-9) + 1;
  const least = Math.min(preset.leastContext, tokens - recent);
  const kept = [tokens];
  for (let layer = 0; layer < layers - 1; layer++) {
    const context = kept[layer]! - recent;
    const share = cosineDecay(preset.promptDecay, layer, layers);
    const fewer = Math.floor(context * share + 1e-9);
    const shouldPlan = layer % preset.interval === 0 && fewer > least;
    kept.push(recent + (shouldPlan ? fewer : context));
  }
  return { kept, recent };
}

/** Falls from 1 in the first layer to about `end` in the last. */
function cosineDecay(end: number, layer: number, layers: number): number {
  return (1 - end) * (Math.cos(Math.PI * layer / layers) + 1) / 2 + end;
}

function wholePrompt(promptTokens: number, layers: number): PromptSizes {
  const recent = Math.floor(pyramidPreset(layers).recentShare * promptTokens + 1e-9) + 1;
  return { kept: new Array<number>(layers).fill(promptTokens), recent };
}

function isWhole({ budget, promptTokens, minimumTokens = 0 }: PruningRequest): boolean {
  return promptTokens < minimumTokens || isAll(budget);
}

function isAll(budget: CacheBudget): boolean {
  return "ratio" in budget && budget.ratio >= 1;
}

/**
 * Chooses which prompt tokens a layer keeps and passes on.
 *
 * @param view The layer, and the newest rows of its attention.
 * @param sizes Tokens that each layer keeps.
 * @returns Positions.
 */
export function prunePrompt(view: PruneView, { kept: sizes, recent }: PromptSizes): PrunedLayer {
  const { layer, layers, reached, rows } = view;
  const { sinks } = pyramidPreset(layers);
  const scores = weightedMean(rows, NEWEST_WEIGHT);
  const best = (positions: Uint32Array, count: number) => {
    if (count >= positions.length) return positions;
    const sink = Math.min(sinks, count - recent);
    const saliency = Float32Array.from(positions, (position) => scores[position]!);
    const counts = { sink, recent, critical: count - recent - sink, marginal: 0 };
    const { full } = planBySaliency({ tokens: positions.length, saliency }, counts);
    return full.map((index) => positions[index]!);
  };
  const kept = best(reached, sizes[layer]!);
  return { kept, next: best(kept, sizes[layer + 1] ?? kept.length) };
}

/** A length and a layer, and what blocks of generated tokens depend on. */
type BlockRequest = PruningRequest & Pick<CountRequest, "tokens" | "layer">;

/** Whole blocks of generated tokens that have left the recent window, and how many tokens each keeps. */
function blocksOf(request: BlockRequest, recent: number): { blocks: number; kept: number } {
  const { tokens, promptTokens, layer, layers, minimumTokens = 0 } = request;
  const { blockTokens, blockShare, blockDecay } = pyramidPreset(layers);
  const share = blockShare * cosineDecay(blockDecay, layer, layers);
  const isKept = isAll(request.budget) || tokens < minimumTokens;
  const passed = isKept ? 0 : tokens - promptTokens - (recent - 1);
  return {
    blocks: Math.max(0, Math.floor(passed / blockTokens)),
    kept: Math.max(1, Math.floor(blockTokens * share + 1e-9)),
  };
}

/**
 * Counts the tokens that a layer holds: those kept of the prompt, the best of each full block of generated tokens, and all
 * newer ones. The first tokens are sinks, and the newest ones without a gap are recent.
 */
function pyramidCounts(request: BlockRequest, sizes: PromptSizes): TierCounts {
  const { tokens, promptTokens, layer, layers } = request;
  const { blocks, kept } = blocksOf(request, sizes.recent);
  const { blockTokens, sinks } = pyramidPreset(layers);
  const fresh = tokens - promptTokens - blocks * blockTokens;
  const prompt = sizes.kept[layer]!;
  const recent = blocks > 0 ? fresh : fresh + Math.min(prompt, sizes.recent);
  const others = prompt + blocks * kept + fresh - recent;
  const sink = Math.min(sinks, others);
  return { sink, recent, critical: others - sink, marginal: 0 };
}

/** Whether the newest token completes a block of generated tokens, so that some can be dropped. */
function isBlockFull(request: CountRequest, sizes: PromptSizes): boolean {
  const now = blocksOf(request, sizes.recent).blocks;
  return now > blocksOf({ ...request, tokens: request.tokens - 1 }, sizes.recent).blocks;
}

/**
 * Drops the least salient tokens of full blocks, and never any more of the prompt.
 *
 * @param view Held tokens and their scores.
 * @param sizes Tokens that each layer keeps of the prompt.
 * @returns The tokens that stay.
 */
export function planBlocks(view: PlanView, sizes: PromptSizes): Selection {
  const { held, promptTokens, layers, saliency } = view;
  const { blockTokens } = pyramidPreset(layers);
  const { blocks, kept } = blocksOf(view, sizes.recent);
  const stays = new Set(held);
  for (let block = 0; block < blocks; block++) {
    const first = promptTokens + block * blockTokens;
    const inBlock = [...held.filter((token) => token >= first && token < first + blockTokens)];
    inBlock.sort((a, b) => saliency[b]! - saliency[a]! || a - b);
    for (const token of inBlock.slice(kept)) stays.delete(token);
  }
  return { full: held.filter((token) => stays.has(token)), valueOnly: new Uint32Array(0) };
}

/**
 * Makes a policy that prunes the prompt to given sizes.
 *
 * @param pruning How many tokens each layer keeps.
 * @returns The policy without its name and summary.
 */
export function prunedPolicy({ sizes }: Pruning): Omit<Policy, "name" | "summary"> {
  return {
    source: "https://arxiv.org/abs/2405.12532",
    saliencySource: "large",
    score: window({ rows: (request) => sizes(request).recent, newestWeight: NEWEST_WEIGHT }),
    candidates: "kept",
    timing: "after",
    granularity: "layer",
    interval: 1,
    ties: "earlier",
    accepts: ["minimumTokens"],
    isUnbounded: true,
    counts: (request) => pyramidCounts(request, sizes(request)),
    shouldPlan: (request) => isBlockFull(request, sizes(request)),
    plan: (view) => planBlocks(view, sizes(view)),
    prune: (view) => prunePrompt(view, sizes(view)),
  };
}
