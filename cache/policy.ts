/**
 * What a KV cache policy is: data and one small function. Policies hold no state and never see a device.
 *
 * @module
 */

import type { CountRequest, LayerPlace, TierCounts } from "./budget.ts";
import type { Granularity, OptionName, PolicyOptions } from "./options.ts";
import type { Score } from "./scores/score.ts";
import { sortableBits, type TieRule, topKThresholds } from "./top_k_threshold.ts";

/** A rule that decides which tokens the device cache holds. */
export interface Policy {
  /** Name used in results and on the command line. */
  readonly name: string;
  /** One sentence on what it keeps. */
  readonly summary: string;
  /** Address of the paper or code it follows; absent for your own. */
  readonly source?: string;
  /** Model whose heads score tokens: the small one's matched heads, the large one's, or neither. */
  readonly saliencySource: "none" | "small" | "large";
  /**
   * How tokens are scored, or the score that choices name. If left out, policies that ask the small model follow the
   * choices `score` and `decay` (D-30), and all others do without.
   */
  readonly score?: Score | ((options: Required<Pick<PolicyOptions, "seed">>) => Score);
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
  /** Choices that differ from the recommended ones, such as those of a preset. */
  readonly defaults?: PolicyOptions;
  /** Choices that its counts and its rhythm answer to; `base`, `interval` and `minimumTokens` if left out. */
  readonly accepts?: readonly OptionName[];
  /** Whether its cost may lie above the budget, which is reported then; a plan over the budget is an error otherwise. */
  readonly isUnbounded?: boolean;
  /** Tokens of each tier. */
  readonly counts: (request: CountRequest) => TierCounts;
  /** Whether tokens are chosen again at a length; by the interval if left out. Looks at lengths only, at layer 0. */
  readonly shouldPlan?: (request: CountRequest) => boolean;
  /** Chooses the tokens of a selection in another way than `planBySaliency`, at no more cost than the counts have. */
  readonly plan?: (view: PlanView, counts: TierCounts) => Selection;
  /** Chooses what of the prompt goes on from each layer to the next; the prompt is run whole if left out. */
  readonly prune?: (view: PruneView) => PrunedLayer;
}

/** Kept tokens of one selection. */
export interface Selection {
  /** Positions with key and value, ascending. */
  readonly full: Uint32Array;
  /** Positions with value only, ascending. */
  readonly valueOnly: Uint32Array;
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

/** What a policy's own plan sees of one selection. */
export interface PlanView extends RankingView, LayerPlace {
  /** Which tokens are held now, ascending; all of the prompt at first. */
  readonly held: Uint32Array;
}

/** What a policy that prunes the prompt sees of one layer. */
export interface PruneView extends LayerPlace {
  /** Positions that have reached the layer, ascending. */
  readonly reached: Uint32Array;
  /** Attention of the last prompt rows that the score looks at, in this layer, mean over heads, oldest row first, [rows][promptTokens]. */
  readonly rows: readonly Float32Array[];
}

/** What a layer does with the prompt. */
export interface PrunedLayer {
  /** Positions that the layer's cache keeps, ascending; among those that have reached it. */
  readonly kept: Uint32Array;
  /** Positions that go on to the next layer, ascending; among the kept ones, the first and the last one of the prompt always. */
  readonly next: Uint32Array;
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
  const [criticalCut, chosenCut] = topKThresholds(open.scores, ranks, view.ties ?? "earlier");
  const full = new Uint32Array(sink + critical + tokens - firstRecent);
  const valueOnly = new Uint32Array(chosen - critical);
  let [keptCount, marginalCount] = [0, 0];
  for (let token = 0; token < sink; token++) full[keptCount++] = token;
  for (let index = 0; index < open.scores.length; index++) {
    const score = open.scores[index]!;
    const isChosen = chosenCut!.takes(score);
    if (criticalCut!.takes(score)) full[keptCount++] = open.tokens[index]!;
    else if (isChosen) valueOnly[marginalCount++] = open.tokens[index]!;
  }
  for (let token = firstRecent; token < tokens; token++) full[keptCount++] = token;
  return { full, valueOnly };
}

/**
 * Chooses the tokens of one selection by ranks over all tokens, and adds the newest ones after (D-11).
 *
 * @param view Tokens and their scores.
 * @param counts Tokens of each tier; where tiers overlap, fewer tokens are taken than there are counts.
 * @returns Kept and marginal positions.
 */
export function planOverAll(view: RankingView, counts: TierCounts): Selection {
  const { full, valueOnly } = planBySaliency(view, { ...counts, recent: 0 });
  const firstRecent = Math.max(0, view.tokens - counts.recent);
  const isOlder = (token: number) => token < firstRecent;
  const recent = Array.from({ length: view.tokens - firstRecent }, (_, k) => firstRecent + k);
  return {
    full: Uint32Array.of(...full.filter(isOlder), ...recent),
    valueOnly: valueOnly.filter(isOlder),
  };
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
