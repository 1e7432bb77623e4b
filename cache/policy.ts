/**
 * What a KV cache policy is: data and one small function. Policies hold no state and never see a device.
 *
 * @module
 */

import type { CacheBudget, TierCounts } from "./budget.ts";
import type { PolicyOptions } from "./policy_options.ts";
import { salientCuts, sortableBits, type TieRule } from "./salient_cut.ts";

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
  readonly ties?: TieRule;
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
  const { tokens } = view;
  const sink = Math.min(counts.sink, tokens);
  const firstRecent = Math.max(sink, tokens - counts.recent);
  const open = openTokens(view, sink, firstRecent);
  const critical = Math.min(Math.max(0, counts.critical), open.scores.length);
  const chosen = Math.min(critical + Math.max(0, counts.marginal), open.scores.length);
  const ranks = [critical, chosen];
  const [criticalCut, chosenCut] = salientCuts(open.scores, ranks, view.ties ?? "earlier");
  const kept = new Uint32Array(sink + critical + tokens - firstRecent);
  const marginal = new Uint32Array(chosen - critical);
  let [keptCount, marginalCount] = [0, 0];
  for (let token = 0; token < sink; token++) kept[keptCount++] = token;
  for (let index = 0; index < open.scores.length; index++) {
    const score = open.scores[index]!;
    const isChosen = chosenCut!.takes(score);
    if (criticalCut!.takes(score)) kept[keptCount++] = open.tokens[index]!;
    else if (isChosen) marginal[marginalCount++] = open.tokens[index]!;
  }
  for (let token = firstRecent; token < tokens; token++) kept[keptCount++] = token;
  return { kept, marginal };
}

/** Tokens of a stretch that may be chosen, with their scores as integers. */
function openTokens({ saliency, isOpen }: RankingView, first: number, end: number) {
  const tokens = new Uint32Array(end - first);
  const scores = new Float32Array(end - first);
  let count = 0;
  for (let token = first; token < end; token++) {
    if (isOpen && !isOpen(token)) continue;
    tokens[count] = token;
    scores[count++] = token < saliency.length ? saliency[token]! : 0;
  }
  return { tokens, scores: sortableBits(scores.subarray(0, count)) };
}
