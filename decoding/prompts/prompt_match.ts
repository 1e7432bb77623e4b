/**
 * Which head of a small model stands for each head of a large one, by the beginning of a text.
 *
 * @module
 */

import { matchHeadGroups } from "../../analysis/group_match.ts";
import {
  compareHeads,
  type HeadMatch,
  matchHeads,
  type MatchOptions,
  salientCount,
} from "../../analysis/head_match.ts";
import type { HeadSaliency } from "../../analysis/head_saliency.ts";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import type { Model } from "../../models/load.ts";
import { Session } from "../sessions/session.ts";

/** Where heads are compared (D-3): the first tokens, the last ones, or the last rows over all tokens. */
export const MATCH_SIDES = ["head", "tail", "tail_rows"] as const;
/** One of `MATCH_SIDES`. */
export type MatchSide = typeof MATCH_SIDES[number];

/** How the heads of a pair are matched. */
export interface PairMatchOptions extends MatchOptions {
  /** D-3; `head` if left out, which no later token changes. */
  readonly side?: MatchSide;
  /** D-22: flat small head of each flat large head, known beforehand; found in the text if left out. */
  readonly map?: ArrayLike<number>;
  /** D-22: tokens from one match to the next, which then looks at the newest ones; never again if left out. */
  readonly rematch?: number;
}

/** Rows and columns of attention that heads are compared by. */
export interface MatchWindow {
  /** First row. */
  readonly first: number;
  /** Row behind the last one, and column behind the last one. */
  readonly end: number;
  /** First column. */
  readonly column: number;
}

/** How heads can be matched: each query head, or the heads of a KV head together. */
export type MatchKind = "head" | "group";
/** Matches of the kinds that policies want. */
export type HeadMatches = ReadonlyMap<MatchKind, HeadMatch>;

/** The two models, each with a session of its own, and how their heads are matched. */
export interface PromptModels {
  /** The large model. */
  readonly large: Session;
  /** The small model, where a policy wants one. */
  readonly small?: Session;
  /** How heads are matched. */
  readonly match: PairMatchOptions;
}

/**
 * Matches two models on the beginning of a text.
 *
 * @param models Sessions without tokens; they sum attention.
 * @param tokens The text.
 * @param policies Policies that want to know.
 * @returns For each large head the most similar small head, in the ways of the policies.
 */
export async function matchText(
  models: Required<PromptModels>,
  tokens: readonly number[],
  policies: readonly ResolvedPolicy[],
): Promise<HeadMatches> {
  const { large, small } = models;
  const window = matchWindow(models.match, tokens.length);
  const run = async (session: Session) => {
    const { first, end } = window;
    const quiet = { logits: "none", isSummed: false } as const;
    if (first > 0) await session.prefill(tokens.slice(0, first), quiet);
    await session.prefill(tokens.slice(first, end), { logits: "none" });
    return windowSums(await session.accumulated(), window);
  };
  const sums = { large: await run(large), small: await run(small) };
  return matchPrompt(models, { window, sums, policies });
}

/**
 * Matches two models anew on the newest tokens of a text, which both run exactly once more.
 *
 * @param pair Models, how their heads are matched, the policies that want to know.
 * @param tokens The text.
 * @returns Matches on its last tokens or, with `tail_rows`, rows; the first tokens would match as before.
 */
export async function matchAgain(
  pair: {
    readonly large: Model;
    readonly small: Model;
    readonly match: PairMatchOptions;
    readonly policies: readonly ResolvedPolicy[];
  },
  tokens: readonly number[],
): Promise<HeadMatches> {
  const sizes = { capacity: tokens.length, accumulate: true };
  using large = new Session(pair.large, sizes);
  using small = new Session(pair.small, sizes);
  const match = {
    ...pair.match,
    side: pair.match.side === "tail_rows" ? "tail_rows" : "tail",
  } as const;
  return await matchText({ large, small, match }, tokens, pair.policies);
}

/**
 * Matches heads by what they receive in the window.
 *
 * @param models The models.
 * @param options The window, sums of its rows, [layers * queryHeads, columns], policies that want to know.
 * @returns For each large head the most similar small head, in the ways of the policies.
 */
export function matchPrompt(
  { large, small, match }: Required<PromptModels>,
  options: {
    readonly window: MatchWindow;
    readonly sums: { readonly large: Float32Array; readonly small: Float32Array };
    readonly policies: readonly ResolvedPolicy[];
  },
): HeadMatches {
  const { window: { first, end, column }, sums, policies } = options;
  const { config } = large.model;
  const size = { tokens: end - column, firstRow: first - column };
  const own: HeadSaliency = { ...config, ...size, accumulated: sums.large };
  const other: HeadSaliency = { ...small.model.config, ...size, accumulated: sums.small };
  const groupSize = config.queryHeads / config.kvHeads;
  const choice = {
    ...match,
    // Policies say below which length there is no matching (D-4), and sets have a share of the rows, not the columns.
    minimumTokens: Math.min(size.tokens, match.minimumTokens ?? size.tokens),
    window: size.tokens,
    topTokens: salientCount(end - first, match),
  };
  return new Map(
    [...new Set(policies.map(matchKind))].map((kind) => [
      kind,
      match.map
        ? compareHeads(own, other, { ...choice, match: match.map })
        : kind === "group"
        ? matchHeadGroups(own, other, { ...choice, groupSize })
        : matchHeads(own, other, choice),
    ]),
  );
}

/**
 * Tells what is matched for a policy.
 *
 * @param policy A policy with a helper.
 * @returns Each query head, or the heads of a KV head together.
 */
export function matchKind({ granularity }: ResolvedPolicy): MatchKind {
  return granularity === "kv_match" ? "group" : "head";
}

/**
 * Rows and columns that heads are compared by.
 *
 * @param match How heads are matched.
 * @param tokens Tokens of the text.
 * @returns At most 200 rows unless chosen otherwise.
 */
export function matchWindow(
  { window = 200, side = "head" }: PairMatchOptions,
  tokens: number,
): MatchWindow {
  const rows = Math.min(tokens, window);
  if (side === "head") return { first: 0, end: rows, column: 0 };
  const first = tokens - rows;
  return { first, end: tokens, column: side === "tail" ? first : 0 };
}

/**
 * Cuts the columns of a window out of what tokens have received.
 *
 * @param sums What they have received when the window's last row has run, [heads, end].
 * @param window The window.
 * @param before What they had received before its first row, [heads, first]; nothing if left out.
 * @returns What they have received from the window's rows, [heads, columns].
 */
export function windowSums(
  sums: Float32Array,
  { first, end, column }: MatchWindow,
  before?: Float32Array,
): Float32Array {
  if (column === 0 && !before) return sums;
  const columns = end - column;
  return Float32Array.from({ length: sums.length / end * columns }, (_, index) => {
    const [head, token] = [Math.floor(index / columns), column + index % columns];
    return sums[head * end + token]! - (token < first ? before?.[head * first + token] ?? 0 : 0);
  });
}
