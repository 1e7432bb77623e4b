/**
 * What a KV cache policy is: data and one small function. Policies hold no state and never see a device.
 *
 * @module
 */

import type { CacheBudget, TierCounts } from "./budget.ts";
import type { PolicyOptions } from "./policy_options.ts";

/**
 * Which heads share one selection of tokens (D-15). `kv_head`: the query heads of a KV head. `query_head`: each alone,
 * a mask simulation under grouped queries. `layer`: all heads of a layer. `kv_match`: as `kv_head`, with one matched
 * helper head for the whole group.
 */
export type Granularity = "kv_head" | "query_head" | "layer" | "kv_match";

/**
 * How a policy that looks at the large model's own attention remembers it. `sum`: all rows so far. `last`: the newest
 * row. `prefill`: the last rows of the prompt, never updated. `window`: the newest rows, later ones counting more.
 */
export type OwnMemory = "sum" | "last" | "prefill" | "window";

/** Choices of a run that change counts. */
export interface CountOptions {
  /** D-24: whether there are marginal tokens; what they cost goes to the other tiers otherwise. */
  readonly marginal?: boolean;
  /** D-18: how budgets below 10 % are split. */
  readonly split?: "demand" | "plain";
  /** D-10: first tokens that are always kept. */
  readonly sink?: number;
  /** Heavy to recent tokens of H2O: 1 or 2 to 1. */
  readonly heavyRatio?: 1 | 2;
}

/** What the counts of a selection may depend on. */
export interface CountRequest extends CountOptions {
  /** What may be kept. */
  readonly budget: CacheBudget;
  /** Tokens of the sequence so far, the newest one included. */
  readonly tokens: number;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Layer, from 0. */
  readonly layer: number;
  /** Layers of the model. */
  readonly layers: number;
}

/** A rule that decides which tokens the device cache holds. */
export interface Policy {
  /** Name used in results and on the command line. */
  readonly name: string;
  /** One sentence on what it keeps. */
  readonly summary: string;
  /** Address of the paper or code it follows; absent for one's own. */
  readonly source?: string;
  /** Whose attention ranks tokens: nobody's, the matched small heads', or the large model's own. */
  readonly scores: "none" | "helper" | "own";
  /** How own attention is remembered; needed with `scores: "own"`. */
  readonly memory?: OwnMemory;
  /** Whether dropped tokens may return from the host, or only kept ones stay. */
  readonly candidates: "all" | "kept";
  /** Whether tokens are chosen before a step's attention or after it. */
  readonly timing: "before" | "after";
  /** Heads that share a selection, unless an option says otherwise. */
  readonly granularity: Granularity;
  /** Decode steps from one selection to the next. */
  readonly interval: number;
  /** Which of two equally salient tokens is kept. */
  readonly ties: "earlier" | "later";
  /** Rows at the end of the prompt that `last`, `prefill` and `window` look at, for a number of kept tokens. */
  readonly promptRows?: (request: CountRequest) => number;
  /** Choices that differ from the recommended ones, such as those of a preset. */
  readonly defaults?: PolicyOptions;
  /** Tokens of each tier. */
  readonly counts: (request: CountRequest) => TierCounts;
}

/** Kept tokens of one selection. */
export interface Selection {
  /** Positions with key and value, ascending. */
  readonly kept: Uint32Array;
  /** Positions with value only, ascending. */
  readonly marginal: Uint32Array;
}

/** What a planner ranks. */
export interface RankingView {
  /** Tokens of the sequence so far, the newest one included. */
  readonly tokens: number;
  /** Score of each token, >= 0, [tokens]; unused ranks may be left out by an empty array. */
  readonly saliency: Float32Array;
  /** Which tokens may be chosen; all if left out. Recent tokens and sinks are chosen in any case. */
  readonly isOpen?: (token: number) => boolean;
  /** Which of two equally salient tokens is kept; the earlier one if left out (D-7). */
  readonly ties?: "earlier" | "later";
}

/**
 * Chooses the tokens of one selection.
 *
 * Sinks and the newest tokens are set aside (D-11), the others ranked by saliency. Twin of the kernel
 * `plan_by_saliency`.
 *
 * @param view Tokens and their scores.
 * @param counts Tokens of each tier.
 * @returns Kept and marginal positions.
 */
export function planBySaliency(view: RankingView, counts: TierCounts): Selection {
  const { tokens, saliency } = view;
  const sink = Math.min(counts.sink, tokens);
  const firstRecent = Math.max(sink, tokens - counts.recent);
  const tiers = new Uint8Array(tokens).fill(KEPT, 0, sink).fill(KEPT, firstRecent);
  const open: number[] = [];
  for (let token = sink; token < firstRecent; token++) {
    if (view.isOpen?.(token) ?? true) open.push(token);
  }
  const scores = Float32Array.from(open, (token) => saliency[token] ?? 0);
  const ranking = { scores, sorted: scores.toSorted(), ties: view.ties ?? "earlier" };
  for (const index of highest(ranking, counts.critical + counts.marginal)) {
    tiers[open[index]!] = MARGINAL;
  }
  for (const index of highest(ranking, counts.critical)) tiers[open[index]!] = KEPT;
  return { kept: positionsOf(tiers, KEPT), marginal: positionsOf(tiers, MARGINAL) };
}

const KEPT = 2;
const MARGINAL = 1;

interface Ranking {
  readonly scores: Float32Array;
  /** The scores, ascending. */
  readonly sorted: Float32Array;
  readonly ties: "earlier" | "later";
}

/** Indices of the largest scores; of equal ones the first or the last are taken. */
function highest({ scores, sorted, ties }: Ranking, count: number): number[] {
  const length = scores.length;
  if (count <= 0 || length === 0) return [];
  if (Number.isNaN(sorted[length - 1])) {
    throw new RangeError("Cannot rank tokens: saliency must be a number: current value is NaN");
  }
  const least = count >= length ? -Infinity : sorted[length - count]!;
  let above = 0;
  for (const score of scores) if (score > least) above += 1;
  let equals = Math.min(count, length) - above;
  const chosen: number[] = [];
  for (let step = 0; step < length; step++) {
    const index = ties === "earlier" ? step : length - 1 - step;
    const score = scores[index]!;
    if (score > least || (score === least && equals-- > 0)) chosen.push(index);
  }
  return chosen;
}

function positionsOf(tiers: Uint8Array, tier: number): Uint32Array {
  const positions: number[] = [];
  for (let token = 0; token < tiers.length; token++) {
    if (tiers[token] === tier) positions.push(token);
  }
  return Uint32Array.from(positions);
}
