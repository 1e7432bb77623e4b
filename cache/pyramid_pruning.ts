/**
 * PyramidInfer as published: what of a prompt goes on from layer to layer, and what of the generated tokens stays.
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
export interface PyramidPreset {
  /** Share of the prompt whose newest tokens always go on. */
  readonly recentShare: number;
  /** Share of the context that the deepest layers pass on. */
  readonly promptDecay: number;
  /** Layers from one selection to the next. */
  readonly interval: number;
  /** Context tokens at or below which nothing more is dropped. */
  readonly leastContext: number;
  /** First tokens that always go on. */
  readonly sinks: number;
  /** Generated tokens that are compressed at a time. */
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
 * Chooses the official settings for a model: those for 7-8B below 40 layers, for 13B below 60, for 70B above.
 *
 * @param layers Layers of the model.
 * @returns Settings.
 */
export function pyramidPreset(layers: number): PyramidPreset {
  if (layers < 40) return SMALL_PRESET;
  return layers < 60
    ? { ...SMALL_PRESET, promptDecay: 0.8, interval: 2 }
    : { ...SMALL_PRESET, interval: 3 };
}

/** What the pruning of a prompt depends on. */
export interface PruningRequest extends Pick<CountRequest, "budget" | "promptTokens" | "layers"> {
  /** Tokens below which nothing is dropped; none if left out. */
  readonly minimumTokens?: number;
}

/** How many prompt tokens each layer keeps. */
export interface PromptSizes {
  /** Tokens in each layer's cache, never more than in the layer before, [layers]. */
  readonly kept: readonly number[];
  /** Newest tokens that always go on; as many prompt rows choose. */
  readonly recent: number;
}

/** A way to prune. */
export interface Pruning {
  /** Sizes for a prompt. */
  readonly sizes: (request: PruningRequest) => PromptSizes;
}

/** The official schedule as it is; a budget of 1 is the whole cache, any other changes nothing. */
export const OFFICIAL_PRUNING: Pruning = {
  sizes(request) {
    const { promptTokens, layers } = request;
    if (isWhole(request)) return wholePrompt(promptTokens, layers);
    return scheduleSizes(promptTokens, layers, pyramidPreset(layers));
  },
};

/**
 * The official schedule behind a cut at the first layer, such that layers keep what the budget says in the mean.
 *
 * The schedule runs on what the cut leaves as on a prompt of that length. Where it alone drops more than the budget
 * asks for, there is no cut, and it decays less.
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
      // Two tokens at least: every row needs the first one to look at, and the last one predicts.
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

/** Searching takes hundreds of steps, and a prompt's sizes are asked for at every layer of every plan. */
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

/** Decays that are tried between the preset's and none. */
const DECAY_STEPS = 4096;

/** Largest integer from `least` on that fits, given that fewer always fit better; `least` if none does. */
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
 * Chooses what a layer keeps of the prompt and what goes on.
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
export type BlockRequest = PruningRequest & Pick<CountRequest, "tokens" | "layer">;

/** Generated tokens that have left the recent window in whole blocks, and what each block keeps. */
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
 * Counts what a layer holds: what it kept of the prompt, the best of each full block of generated tokens, and all
 * newer ones.
 *
 * @param request Lengths and layer.
 * @param sizes Tokens that each layer keeps of the prompt.
 * @returns Counts; first tokens are sinks, the newest ones without a gap are recent.
 */
export function pyramidCounts(request: BlockRequest, sizes: PromptSizes): TierCounts {
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

/**
 * Tells whether another block of generated tokens is full.
 *
 * @param request Lengths.
 * @param sizes Tokens that each layer keeps of the prompt.
 * @returns Whether there is something to drop.
 */
export function isBlockFull(request: CountRequest, sizes: PromptSizes): boolean {
  const now = blocksOf(request, sizes.recent).blocks;
  return now > blocksOf({ ...request, tokens: request.tokens - 1 }, sizes.recent).blocks;
}

/**
 * Drops the least salient tokens of full blocks; the prompt is never looked at again.
 *
 * @param view What is held, and its scores.
 * @param sizes Tokens that each layer keeps of the prompt.
 * @returns What stays.
 */
export function planBlocks(view: PlanView, sizes: PromptSizes): Selection {
  const { held, promptTokens, layers, saliency } = view;
  const { blockTokens } = pyramidPreset(layers);
  const { blocks, kept } = blocksOf(view, sizes.recent);
  const stays = new Set(held);
  for (let block = 0; block < blocks; block++) {
    const first = promptTokens + block * blockTokens;
    const own = [...held.filter((token) => token >= first && token < first + blockTokens)];
    own.sort((a, b) => saliency[b]! - saliency[a]! || a - b);
    for (const token of own.slice(kept)) stays.delete(token);
  }
  return { full: held.filter((token) => stays.has(token)), valueOnly: new Uint32Array(0) };
}

/**
 * Makes a policy of the sizes that a prompt is pruned to.
 *
 * @param pruning How many tokens each layer keeps.
 * @returns All of the policy but its name and summary.
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
