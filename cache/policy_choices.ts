/**
 * Choices of the decision table (method section 4) that apply to more than one policy, and their values.
 *
 * @module
 */

import type { Normalisation } from "../analysis/row_means.ts";
import type { CountOptions, Granularity, Policy } from "./policy.ts";

/** Ways to join the exact part with marginal attention (D-17, method section 6). */
export const COMBINES = ["joint", "mass_split", "additive", "eq6_est", "joint_nosink"] as const;
/** One of `COMBINES`. */
export type Combine = typeof COMBINES[number];
/** What a helper's head remembers (D-30). */
export const SCORES = ["accumulated", "decayed", "row"] as const;
/** One of `SCORES`. */
export type ScoreMemory = typeof SCORES[number];
/** Values of `granularity` (D-15). */
export const GRANULARITIES = [
  "kv_head",
  "query_head",
  "layer",
  "kv_match",
] as const satisfies readonly Granularity[];
/** Ways to join the scores of the query heads that share a selection (D-15). */
export const REDUCTIONS = ["mean", "sum", "max"] as const;
/** One of `REDUCTIONS`. */
export type Reduction = typeof REDUCTIONS[number];
/** What a share of the cache is a share of (D-12). */
export const BASES = ["current", "prompt"] as const;
/** One of `BASES`. */
export type BudgetBase = typeof BASES[number];
/** Tokens that ranks run over (D-11): those older than the recent window, or all, the recent ones added after. */
export const RANKED = ["older", "all"] as const;
/** Whose attention weighs marginal values (D-16): each query head's matched head, or the mean over a selection's. */
export const WEIGHTS = ["query_head", "group"] as const;
/** Which of two equally salient tokens is kept (D-7). */
export const TIES = ["earlier", "later"] as const;
/** What the position of a kept token is (D-21): its place in the text, or its place among the kept ones. */
export const POSITIONS = ["original", "slot"] as const;
/** How budgets below 10 % are split (D-18). */
export const SPLITS = ["demand", "plain"] as const;
/** How tiers that cover more than all tokens, above 80 %, are cut (D-19). */
export const COVERAGES = ["clip", "overlap"] as const;

/** Choices; each has the recommended value of the decision table if left out. */
export interface PolicyOptions extends CountOptions {
  /** D-30: what ranks tokens: all rows of the helper so far, the same with old rows fading, or the current row. */
  readonly score?: ScoreMemory;
  /** Factor on older rows at each step with `score: "decayed"`, in (0, 1). */
  readonly decay?: number;
  /** D-1: whether sums are divided by the rows that could see a token; raw sums starve the end of the prompt. */
  readonly normalise?: Normalisation;
  /** D-2, D-23: last prompt rows that sums start from; all if left out, 32 with `score: "decayed"`. */
  readonly scoreRows?: number;
  /** D-17. */
  readonly combine?: Combine;
  /** D-16. */
  readonly weights?: typeof WEIGHTS[number];
  /** D-15; the policy's own if left out. */
  readonly granularity?: Granularity;
  /** D-15: how the query heads of a selection join. */
  readonly reduction?: Reduction;
  /** D-11. */
  readonly ranked?: typeof RANKED[number];
  /** D-7; the policy's own if left out. */
  readonly ties?: typeof TIES[number];
  /** D-21: what attention takes for the position of a kept token. */
  readonly positions?: typeof POSITIONS[number];
  /** D-12: whether the budget grows with the sequence or is that of the prompt. */
  readonly base?: BudgetBase;
  /** D-13: steps from one selection to the next; the policy's own if left out. */
  readonly interval?: number;
  /** D-13: with an interval, share of a selection that must change for a plan to be taken over before it ends; 0 if left out. */
  readonly change?: number;
  /** D-14: whether a step uses the selection of the step before, so that transfers overlap. */
  readonly stale?: boolean;
}

/** A policy with every choice made. */
export interface ResolvedPolicy extends Policy, Required<PolicyOptions> {}

/** Decay of the preset `smallkv_query_aware`. */
export const DEFAULT_DECAY = 0.5;
/** Rows that decayed scores start from. */
export const DECAY_ROWS = 32;
