/**
 * Head matching: for every query head of the large model the most similar one of the small model,
 * equations (2) and (3) of the paper with the decisions D-3 to D-8 and D-28.
 *
 * @module
 */

import { checkInteger, checkLength, RequirementError } from "../core/check.ts";
import {
  checkHeadSaliency,
  cosineOfPair,
  type HeadSaliency,
  overlapOfPair,
  type PreparedHeads,
  prepareHeads,
  relativeDepth,
} from "./head_saliency.ts";
import { bestByCosine, bestByJaccard } from "./head_search.ts";
import { meanSaliency, type Normalisation, NORMALISATIONS } from "./row_means.ts";

/** Values of the options that are words: notebooks check no types, and a word that is passed over gives another match. */
const WORDS = {
  by: ["jaccard", "cosine"],
  ties: ["cosine", "first"],
  normalise: NORMALISATIONS,
} as const satisfies Partial<Record<keyof MatchOptions, readonly string[]>>;

/** Choices of the matching. */
export interface MatchOptions {
  /** Widest window (D-3); 200 if left out. */
  readonly window?: number;
  /** Narrowest window (D-4); 100 if left out, 1 for none. */
  readonly minimumTokens?: number;
  /** Share of the window's tokens in each salient set (D-5), at least 8 tokens; 0.2 if left out. */
  readonly topShare?: number;
  /** Size of the salient sets; overrides `topShare`. */
  readonly topTokens?: number;
  /** First tokens left out of sets and cosines (D-8); 0 if left out. */
  readonly ignoredTokens?: number;
  /** What is maximized: the Jaccard similarity of salient sets, as in the paper, or the cosine; `jaccard` if left out. */
  readonly by?: "jaccard" | "cosine";
  /** What breaks ties of Jaccard (D-6): the cosine and then depth, or only the smaller head; `cosine` if left out. */
  readonly ties?: "cosine" | "first";
  /** D-1: whether sums are divided by the rows that could see each token, before heads are compared. */
  readonly normalise?: Normalisation;
  /** Flat small heads that may be chosen; all if left out. To stop after e layers, allow those below e * queryHeads (D-28). */
  readonly allowedHeads?: ArrayLike<number>;
}

/** One small head for each large head; all arrays are [heads of the large model]. */
export interface HeadMatch {
  /** Width of the window. */
  readonly window: number;
  /** Size of the salient sets. */
  readonly topTokens: number;
  /** Flat small head of each flat large head. */
  readonly match: Uint32Array;
  /** Jaccard similarity of the two salient sets. */
  readonly similarity: Float64Array;
  /** Cosine similarity of the two saliency vectors. */
  readonly cosine: Float64Array;
}

/**
 * Returns the width of the matching window for a prompt (D-3, D-4).
 *
 * @param tokens Tokens of the prompt.
 * @param options Widest and narrowest window.
 * @returns The smaller of `tokens` and `window`.
 * @throws {RequirementError} If the prompt is shorter than the narrowest window.
 */
export function matchingWindow(
  tokens: number,
  options: Pick<MatchOptions, "window" | "minimumTokens"> = {},
): number {
  const { window = 200, minimumTokens = 100 } = options;
  checkInteger("match heads", "minimumTokens", { value: minimumTokens, min: 1 });
  checkInteger("match heads", "window", { value: window, min: minimumTokens });
  checkInteger("match heads", "prompt tokens", { value: tokens, min: minimumTokens });
  return Math.min(tokens, window);
}

/**
 * Returns the size of the salient sets (D-5).
 *
 * @param window Width of the window.
 * @param options Share or count of the tokens.
 * @returns `topTokens`, or max(8, round(topShare * window)), never more than the compared tokens.
 */
export function salientCount(
  window: number,
  options: Pick<MatchOptions, "topShare" | "topTokens" | "ignoredTokens"> = {},
): number {
  const { topShare = 0.2, ignoredTokens = 0 } = options;
  checkInteger("match heads", "window", { value: window, min: 1 });
  checkInteger("match heads", "ignoredTokens", { value: ignoredTokens, min: 0, max: window - 1 });
  const compared = window - ignoredTokens;
  if (options.topTokens !== undefined) {
    checkInteger("match heads", "topTokens", { value: options.topTokens, min: 1, max: compared });
    return options.topTokens;
  }
  if (!(topShare > 0 && topShare <= 1)) {
    throw new RequirementError({
      action: "match heads",
      requirement: "topShare must lie in (0, 1]",
      current: topShare,
    });
  }
  return Math.min(compared, Math.max(8, Math.round(topShare * window)));
}

/**
 * Matches every large head with a small head.
 *
 * Ties go to the larger cosine, then to the smaller difference of relative depth
 * (layer / (layers - 1)), then to the small head with the smaller index (D-6); when matching by cosine, ties go to the
 * larger Jaccard similarity first.
 *
 * A trace of a longer text does not fit, since its sums hold rows after the window: trace the window alone, as in
 * `traceAttention(model, tokens.slice(0, 200))`. For windows other than the first tokens (D-3), sum their rows with `windowAttention` and, if they are wider than 200
 * tokens, raise `window`.
 *
 * @example
 * ```ts
 * import { matchHeads } from "./head_match.ts";
 *
 * const accumulated = Float32Array.from({ length: 2 * 100 }, (_, index) => index % 37);
 * const model = { layers: 1, queryHeads: 2, tokens: 100, accumulated };
 * console.log(matchHeads(model, model).match); // Uint32Array [0, 1]
 * ```
 * @param large Large model, over the window.
 * @param small Small model with the same vocabulary, over the same tokens.
 * @param options See {@link MatchOptions}.
 * @returns The match and both similarities of each pair.
 * @throws {RequirementError} If array lengths do not fit the shapes, or the models saw different numbers of tokens.
 * @throws {RequirementError} If there are fewer than 100 tokens or more than the window, saliency is NaN, or an option has
 *   a value that it cannot have.
 */
export function matchHeads(
  large: HeadSaliency,
  small: HeadSaliency,
  options: MatchOptions = {},
): HeadMatch {
  checkPair("match heads", large, small);
  checkWords(options);
  checkWindow(large.tokens, options);
  const topTokens = salientCount(large.tokens, options);
  const choice = { ...options, topTokens };
  const candidates = allowedHeads(small, options);
  const compared = (model: HeadSaliency) =>
    prepareHeads(options.normalise === "rows" ? meanSaliency(model) : model, choice);
  const rows = compared(large);
  const columns = compared(small);
  const { ties = "cosine" } = options;
  const choose = options.by === "cosine" ? bestByCosine : bestByJaccard;
  const match = Uint32Array.from({ length: rows.heads }, (_, head) => {
    const depth = relativeDepth(large, head);
    const distance = (other: number) => Math.abs(relativeDepth(small, other) - depth);
    return choose({ rows, columns, head, candidates, distance, ties });
  });
  return describePairs({ rows, columns, match, topTokens, window: large.tokens });
}

/**
 * Compares given pairs of heads.
 *
 * @param large Large model, any number of tokens.
 * @param small Small model, over the same tokens.
 * @param options The pairs (flat small head of each large head) and which tokens count.
 * @returns The same pairs with their similarities on these tokens.
 */
export function compareHeads(
  large: HeadSaliency,
  small: HeadSaliency,
  options:
    & { readonly match: ArrayLike<number> }
    & Pick<MatchOptions, "topShare" | "topTokens" | "ignoredTokens">,
): HeadMatch {
  checkPair("compare heads", large, small);
  const topTokens = salientCount(large.tokens, options);
  const rows = prepareHeads(large, { ...options, topTokens });
  const columns = prepareHeads(small, { ...options, topTokens });
  const match = checkedMatch(large, small, options.match);
  return describePairs({ rows, columns, match, topTokens, window: large.tokens });
}

/**
 * Throws unless a match names a small head for each large head.
 *
 * @param large Sizes of the large model.
 * @param small Sizes of the small model.
 * @param match Flat small head of each flat large head.
 * @returns A copy.
 * @throws {RequirementError} If it does not have one entry per large head.
 * @throws {RequirementError} If an entry is not a small head.
 */
export function checkedMatch(
  large: Pick<HeadSaliency, "layers" | "queryHeads">,
  small: Pick<HeadSaliency, "layers" | "queryHeads">,
  match: ArrayLike<number>,
): Uint32Array {
  const required = large.layers * large.queryHeads;
  checkLength("compare heads", "match", { required, current: match.length });
  const max = small.layers * small.queryHeads - 1;
  for (const value of Array.from(match)) {
    checkInteger("compare heads", "match", { value, min: 0, max });
  }
  return Uint32Array.from(match);
}

interface Pairs {
  readonly rows: PreparedHeads;
  readonly columns: PreparedHeads;
  readonly match: Uint32Array;
  readonly topTokens: number;
  readonly window: number;
}

function describePairs(pairs: Pairs): HeadMatch {
  const { rows, columns, match, topTokens, window } = pairs;
  const similarity = Float64Array.from(match, (other, head) => {
    const shared = overlapOfPair(rows, columns, { head, other });
    return shared / (2 * topTokens - shared);
  });
  const cosine = Float64Array.from(
    match,
    (other, head) => cosineOfPair(rows, columns, { head, other }),
  );
  return { window, topTokens, match, similarity, cosine };
}

function allowedHeads(small: HeadSaliency, options: MatchOptions): Uint32Array {
  const heads = small.layers * small.queryHeads;
  const allowed = options.allowedHeads ?? Array.from({ length: heads }, (_, head) => head);
  checkInteger("match heads", "allowedHeads.length", { value: allowed.length, min: 1 });
  for (const value of Array.from(allowed)) {
    checkInteger("match heads", "allowedHeads", { value, min: 0, max: heads - 1 });
  }
  return Uint32Array.from(allowed).sort();
}

function checkWords(options: MatchOptions): void {
  for (const [name, words] of Object.entries(WORDS)) {
    const value = options[name as keyof typeof WORDS];
    if (value === undefined || (words as readonly string[]).includes(value)) continue;
    const requirement = `${name} must be one of ${words.join(", ")}`;
    throw new RequirementError({ action: "match heads", requirement, current: value });
  }
}

function checkWindow(tokens: number, options: MatchOptions): void {
  const window = matchingWindow(tokens, options);
  if (window === tokens) return;
  throw new RequirementError({
    action: "match heads",
    requirement:
      `accumulated attention must cover at most the window's ${window} tokens, as traceAttention(model, tokens.slice(0, ${window})) gives it, or windowAttention(map) of a whole map`,
    current: tokens,
  });
}

function checkPair(action: string, large: HeadSaliency, small: HeadSaliency): void {
  checkHeadSaliency(action, large);
  checkHeadSaliency(action, small);
  checkLength(action, "the small model's tokens", {
    required: large.tokens,
    current: small.tokens,
  });
}
