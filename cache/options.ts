/**
 * Every choice of a run in one table: its values, its default, what it needs, its flag and its decision (D-n) in the
 * method. Types, checks, flags of the command line and `docs/choices.md` follow from it.
 *
 * @module
 */

import { NORMALISATIONS } from "../analysis/row_means.ts";
import type { Choice, ChoiceValue, Need } from "./choice.ts";

/** Ways to combine the exact part with marginal attention (D-17). */
export const COMBINES = ["joint", "mass_split", "additive", "eq6_est", "joint_nosink"] as const;
/** One of `COMBINES`. */
export type Combine = typeof COMBINES[number];
/** Ways to join the scores of the query heads that share a selection (D-15). */
export const REDUCTIONS = ["mean", "sum", "max"] as const;
/** One of `REDUCTIONS`. */
export type Reduction = typeof REDUCTIONS[number];
/**
 * Which heads share one selection of tokens (D-15). `kv_head`: the query heads of a KV head. `query_head`: each alone,
 * a mask simulation under grouped queries. `layer`: all heads of a layer. `kv_match`: as `kv_head`, with one matched
 * head of the small model for the whole group.
 */
export const GRANULARITIES = ["kv_head", "query_head", "layer", "kv_match"] as const;
/** One of `GRANULARITIES`. */
export type Granularity = typeof GRANULARITIES[number];

/** Decay of the preset `smallkv_query_aware`. */
export const DEFAULT_DECAY = 0.5;
/** Last prompt rows that decayed scores and the current row start from. */
export const DECAY_ROWS = 32;

const JOINS_HEADS: Need = {
  choice: "granularity",
  values: ["kv_head", "layer"],
  text: "granularity kv_head or layer",
};
const HAS_MARGINAL: Need = {
  choice: "marginal",
  values: [true],
  text: "marginal tokens, or rest mean",
  otherwise: "none",
  unless: { choice: "rest", value: "mean" },
};

/** Choices of policies. */
export const POLICY_CHOICES = {
  score: {
    decision: "D-30",
    help: "rows of the small model that rank tokens: all, all with old ones fading, the newest",
    values: ["accumulated", "decayed", "row"],
    usual: "accumulated",
    holders: "small",
  },
  decay: {
    decision: "D-30",
    help: "factor on older rows at each step with score decayed",
    range: { min: 0, max: 1, open: "both" },
    usual: DEFAULT_DECAY,
    holders: "small",
    needs: [{ choice: "score", values: ["decayed"], text: "score decayed" }],
  },
  normalise: {
    decision: "D-1",
    help: "divisor of sums: nothing, or the rows that could see a token",
    values: NORMALISATIONS,
    usual: "none",
    flag: "normalize",
    aliases: ["normalise"],
    holders: "sums",
    needs: [{
      choice: "score",
      values: ["accumulated"],
      text: "score accumulated",
      isSmallOnly: true,
    }],
  },
  scoreRows: {
    decision: "D-2, D-23",
    help: "last prompt rows that sums start from",
    range: { min: 1, isInteger: true },
    usual: `all; ${DECAY_ROWS} with score decayed`,
    holders: "sums",
    needs: [{
      choice: "score",
      values: ["accumulated", "decayed"],
      text: "score accumulated or decayed",
      isSmallOnly: true,
    }],
  },
  combine: {
    decision: "D-17",
    help: "how marginal tokens are combined with the exact part of attention",
    values: COMBINES,
    usual: "joint",
    holders: "small",
    needs: [HAS_MARGINAL],
  },
  rest: {
    decision: "D-31",
    help: "tokens that are neither kept nor marginal: nothing, or one token with their mean value",
    values: ["none", "mean"],
    usual: "none",
    holders: "masses",
  },
  weights: {
    decision: "D-16",
    help:
      "whose attention weighs marginal values: each query head's match, or the selection's mean",
    values: ["query_head", "group"],
    usual: "query_head",
    holders: "small",
    needs: [HAS_MARGINAL, JOINS_HEADS],
  },
  granularity: {
    decision: "D-15",
    help: "heads that share a selection",
    values: GRANULARITIES,
    holders: "ranking",
    needs: [{
      choice: "saliencySource",
      values: ["small"],
      text: "a policy that asks the small model if it is kv_match",
      otherwise: "another one",
      if: "kv_match",
    }],
  },
  reduction: {
    decision: "D-15",
    help: "how the scores of such heads are joined",
    values: REDUCTIONS,
    usual: "mean",
    holders: "small",
    needs: [JOINS_HEADS],
  },
  ranked: {
    decision: "D-11",
    help: "tokens that ranks run over: those older than the recent window, or all",
    values: ["older", "all"],
    usual: "older",
    holders: "ranking",
  },
  ties: {
    decision: "D-7",
    help: "which of two equally salient tokens is kept",
    values: ["earlier", "later"],
    holders: "ranking",
  },
  positions: {
    decision: "D-21",
    help: "position of a kept token: its place in the text, or among the kept ones",
    values: ["original", "slot"],
    usual: "original",
    holders: "dropping",
    needs: [{
      choice: "granularity",
      values: ["kv_head", "kv_match", "layer"],
      text: "granularity kv_head, kv_match or layer if it is slot",
      if: "slot",
    }],
  },
  marginal: {
    decision: "D-24",
    help: "marginal tokens: kept, none at the same cost, or none at less cost",
    values: [true, false, "dropped"],
    usual: true,
    switches: {
      "no-marginal": { value: false, help: "without marginal tokens, at the same cost" },
      "drop-marginal": { value: "dropped", help: "without marginal tokens, at less cost" },
    },
    holders: "counts",
  },
  split: {
    decision: "D-18",
    help: "budgets below 10 %: critical tokens first, or 2 : 1 : 2 as at any other",
    values: ["demand", "plain"],
    usual: "demand",
    holders: "counts",
  },
  coverage: {
    decision: "D-19",
    help: "budgets above 80 %: tiers cut at equal cost, or overlapping at a lower one",
    values: ["clip", "overlap"],
    usual: "clip",
    holders: "counts",
  },
  sink: {
    decision: "D-10",
    help: "first tokens that are always kept",
    range: { min: 0, isInteger: true },
    usual: 0,
    holders: "counts",
  },
  minimumTokens: {
    decision: "D-4",
    help: "tokens below which nothing is dropped",
    range: { min: 1, isInteger: true },
    usual: 100,
    holders: "counts",
  },
  heavyRatio: {
    help: "heavy to recent tokens of H2O and PyramidInfer: 1 or 2 to 1",
    values: [1, 2],
    usual: 1,
    holders: "counts",
  },
  bits: {
    decision: "D-33",
    help: "bits of an element of the sketches that rank tokens",
    values: [1, 2, 4],
    usual: 2,
    holders: "counts",
  },
  page: {
    decision: "D-33",
    help: "tokens of a page whose keys are bounded together",
    values: [4, 8, 16, 32, 64],
    usual: 16,
    holders: "counts",
  },
  charge: {
    decision: "D-33",
    help: "what a budget pays for: kept entries, or these and the index of all keys",
    values: ["entries", "total"],
    usual: "entries",
    holders: "counts",
  },
  seed: {
    help: "seed of tokens that are drawn at random",
    range: { min: 0, isInteger: true },
    usual: 1,
    holders: "counts",
  },
  base: {
    decision: "D-12",
    help: "tokens that a share is of: all so far, or the prompt's",
    values: ["current", "prompt"],
    usual: "current",
    holders: "counts",
  },
  windowed: {
    decision: "D-34",
    help: "layers with a window: apart from the budget, or what they hold is counted in it",
    values: ["apart", "counted"],
    usual: "apart",
    holders: "dropping",
  },
  interval: {
    decision: "D-13",
    help: "steps from one selection to the next",
    range: { min: 1, isInteger: true },
    holders: "counts",
  },
  change: {
    decision: "D-13",
    help: "share of a selection whose change ends an interval early",
    range: { min: 0, max: 1, open: "max" },
    usual: 0,
    holders: "small",
    needs: [{
      choice: "interval",
      above: 1,
      text: "an interval above 1, after which a plan counts anyway",
    }],
  },
  stale: {
    decision: "D-14",
    help: "whether a step uses the selection of the step before, so that transfers overlap",
    values: [true, false],
    usual: false,
    switches: {
      stale: { value: true, help: "selection of the step before, so that transfers overlap" },
    },
    holders: "small",
  },
} as const satisfies Readonly<Record<string, Choice>>;

/** Choices of head matching. */
export const MATCH_CHOICES = {
  side: {
    decision: "D-3",
    help: "tokens compared: the first, the last, or all by the last rows",
    values: ["head", "tail", "tail_rows"],
    usual: "head",
  },
  window: {
    decision: "D-3",
    help: "rows compared",
    range: { min: 100, isInteger: true },
    usual: 200,
  },
  layers: {
    decision: "D-34",
    help:
      "small heads that may be chosen: those of layers without a window where there are any, or any",
    values: ["full", "any"],
    usual: "full",
  },
  top: {
    decision: "D-5",
    help: "salient tokens: a share of the window, or a number as 40t",
    placeholder: "SHARE|Nt",
    usual: 0.2,
  },
  ignoredTokens: {
    decision: "D-8",
    help: "first tokens left out",
    range: { min: 0, max: 90, isInteger: true },
    usual: 0,
    flag: "ignore",
  },
  by: {
    decision: "D-6, D-32",
    help: "what is maximized; fitted predicts rows from several small heads instead",
    values: ["jaccard", "cosine", "fitted"],
    usual: "jaccard",
  },
  ties: {
    decision: "D-6",
    help: "what settles equal Jaccard: the cosine, or the smaller head",
    values: ["cosine", "first"],
    usual: "cosine",
  },
  normalise: {
    decision: "D-1",
    help: "divisor of sums, before heads are compared",
    values: NORMALISATIONS,
    usual: "none",
    flag: "normalize",
    aliases: ["normalise"],
  },
} as const satisfies Readonly<Record<string, Choice>>;

/** Choices of maps that are fitted in place of a match. */
export const FIT_CHOICES = {
  fitRows: {
    decision: "D-32",
    help: "last rows of the prompt that maps are fitted on",
    range: { min: 1, max: 1024, isInteger: true },
    usual: 32,
  },
  fitHeads: {
    decision: "D-32",
    help: "most small heads that a fitted map predicts a row from",
    range: { min: 1, max: 64, isInteger: true },
    usual: 16,
  },
  fitRidge: {
    decision: "D-32",
    help: "strength of a fitted map's ridge, relative to the mean square of the rows",
    range: { min: 0 },
    usual: 0.3,
  },
} as const satisfies Readonly<Record<string, Choice>>;

/** Choices of a run other than those of its policy. */
export const RUN_CHOICES = {
  ...FIT_CHOICES,
  matchMap: {
    decision: "D-22",
    help: "a match that is known in advance, as deno task match writes it",
    placeholder: "FILE.json",
  },
  rematch: {
    decision: "D-22",
    help: "tokens from one match to the next",
    range: { min: 1, isInteger: true },
    usual: "never",
  },
  smallBudget: {
    help: "what the small model keeps of its own cache, by h2o",
    placeholder: "SHARE|TOKENS",
    usual: "all",
    flag: "small-budget",
    aliases: ["helper-budget"],
  },
  smallLayers: {
    decision: "D-28",
    help: "first layers of the small model that run",
    range: { min: 1, max: 1024, isInteger: true },
    usual: "all",
    flag: "small-layers",
    aliases: ["helper-layers"],
  },
  smallCacheBits: {
    decision: "D-36",
    help:
      "bits of a number in the small model's cache, 8/4 for 8 in keys and 4 in values; fewer than 16 round groups of numbers that share a scale",
    values: [16, 8, "8/4", 4],
    usual: 16,
    flag: "small-cache-bits",
  },
  smallTokens: {
    decision: "D-35",
    help: "tokens in which the small model reads the text: the large model's, or its own",
    values: ["large", "own"],
    usual: "large",
    flag: "small-tokens",
  },
  store: {
    help: "where dropped tokens go: nowhere, which only counts them, or to the host",
    values: ["resident", "tiered"],
    usual: "resident",
  },
  speculate: {
    help: "tokens that the small model drafts for each pass of the large one",
    range: { min: 0, max: 15, isInteger: true },
    usual: "no drafts",
  },
  block: {
    help: "what checked drafts attend to: what each would get without drafts, or one selection",
    values: ["shared", "per_query"],
    usual: "per_query",
  },
  turnBlock: {
    help: "tokens of a further turn that run at once where dropped ones cannot return",
    range: { min: 1, max: 128, isInteger: true },
    usual: 1,
  },
} as const satisfies Readonly<Record<string, Choice>>;

/** Name of a policy's choice. */
export type OptionName = keyof typeof POLICY_CHOICES;

/** Choices of a policy, see `POLICY_CHOICES`; each has the recommended value if left out. */
export type PolicyOptions = {
  readonly [Name in OptionName]?: ChoiceValue<typeof POLICY_CHOICES[Name]>;
};

/** Choices that counts of tokens may depend on. */
export type CountOptions = Pick<
  PolicyOptions,
  "marginal" | "split" | "coverage" | "sink" | "minimumTokens" | "heavyRatio"
>;

/** Names of all choices of policies, sorted. */
export const OPTION_NAMES: readonly OptionName[] = Object.keys(POLICY_CHOICES)
  .sort() as OptionName[];
