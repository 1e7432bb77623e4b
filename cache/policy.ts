/**
 * KV cache policies: data and one small function. They hold no state and never see a device.
 *
 * @module
 */

import type { CountRequest, LayerPlace, TierCounts } from "./budget.ts";
import type { KeyIndex } from "./key_index.ts";
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
  /** Model whose heads score tokens: the small one (by matched heads), the large one, or neither. */
  readonly saliencySource: "none" | "small" | "large";
  /**
   * How tokens are scored, or a function of choices that returns it. If left out, policies that use the small model follow
   * the choices `score` and `decay` (D-30), and all others have no score.
   */
  readonly score?: Score | ((options: Required<Pick<PolicyOptions, "seed">>) => Score);
  /**
   * What the device keeps of every key, or a function of choices that returns it, if tokens are ranked within each layer by
   * the step's own queries (D-33); such a policy has no score, and its tokens are chosen before attention.
   */
  readonly index?:
    | KeyIndex
    | ((options: Required<Pick<PolicyOptions, "bits" | "page">>) => KeyIndex);
  /** Whether dropped tokens may return from the host, or only kept ones are candidates. */
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
  /** Choices that its counts and its timing depend on; `base`, `interval` and `minimumTokens` if left out. */
  readonly accepts?: readonly OptionName[];
  /** Whether its cost may exceed the budget, which is then reported; otherwise a plan over the budget is an error. */
  readonly isUnbounded?: boolean;
  /** Tokens of each tier. */
  readonly counts: (request: CountRequest) => TierCounts;
  /** Whether tokens are chosen again at a length; by the interval if left out. Called for layer 0; may use lengths only. */
  readonly shouldPlan?: (request: CountRequest) => boolean;
  /** Chooses the tokens of a selection in place of `planBySaliency`, at no more cost than that of the counts. */
  readonly plan?: (view: PlanView, counts: TierCounts) => Selection;
  /** Chooses which prompt tokens each layer passes on to the next; all of them if left out. */
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
  /** Score of each token, [tokens]; may be empty if the counts leave nothing to rank. */
  readonly saliency: Float32Array;
  /** Which tokens may be chosen; all if left out. Recent tokens and sinks are chosen in any case. */
  readonly isOpen?: (token: number) => boolean;
  /** Which of two equally salient tokens is kept; the earlier one if left out (D-7). */
  readonly ties?: TieRule;
}

/** What a policy's own plan sees of one selection. */
export interface PlanView extends RankingView, LayerPlace {
  /** Tokens held now, ascending; the whole prompt at first. */
  readonly held: Uint32Array;
}

/** What a policy that prunes the prompt sees of one layer. */
export interface PruneView extends LayerPlace {
  /** Positions that have reached the layer, ascending. */
  readonly reached: Uint32Array;
  /**
   * Attention of the last prompt rows that the score reads, in this layer, mean over heads, oldest first,
   * [rows][promptTokens]; zeros in rows of tokens that have not reached it.
   */
  readonly rows: readonly Float32Array[];
}

/** Prompt tokens that a layer keeps and passes on. */
export interface PrunedLayer {
  /** Positions that the layer's cache keeps, ascending; a part of those that have reached it. */
  readonly kept: Uint32Array;
  /** Positions passed on to the next layer, ascending; a part of the kept ones, with the first and the last of the prompt. */
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
 * @returns Full and value-only positions.
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
  let [fullCount, valueOnlyCount] = [0, 0];
  for (let token = 0; token < sink; token++) full[fullCount++] = token;
  for (let index = 0; index < open.scores.length; index++) {
    const score = open.scores[index]!;
    const isChosen = chosenCut!.takes(score);
    if (criticalCut!.takes(score)) full[fullCount++] = open.tokens[index]!;
    else if (isChosen) valueOnly[valueOnlyCount++] = open.tokens[index]!;
  }
  for (let token = firstRecent; token < tokens; token++) full[fullCount++] = token;
  return { full, valueOnly };
}

/**
 * Chooses the tokens of one selection by ranks over all tokens, and then adds the newest ones (D-11).
 *
 * @param view Tokens and their scores.
 * @param counts Tokens of each tier; where tiers overlap, fewer tokens are taken than there are counts.
 * @returns Full and value-only positions.
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

/** Tokens of a range that may be chosen, with their scores as integers. */
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
