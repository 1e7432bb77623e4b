/**
 * Which head of a small model stands for each head of a large one, by the beginning of a text.
 *
 * @module
 */

import { matchHeadGroups } from "../analysis/group_match.ts";
import { type HeadMatch, matchHeads, type MatchOptions } from "../analysis/head_match.ts";
import type { HeadSaliency } from "../analysis/head_saliency.ts";
import type { ResolvedPolicy } from "../cache/policy_options.ts";
import type { Session } from "./session.ts";

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
  readonly match: MatchOptions;
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
  const window = matchWidth(models, tokens);
  const run = async (session: Session) => {
    await session.prefill(tokens.slice(0, window), { logits: "none" });
    return await session.accumulated();
  };
  const sums = { large: await run(large), small: await run(small) };
  return matchPrompt(models, { window, sums, policies });
}

/**
 * Matches heads by what they receive in the window.
 *
 * @param models The models.
 * @param options Tokens of the window, sums of their rows, [layers * queryHeads, window], policies that want to know.
 * @returns For each large head the most similar small head, in the ways of the policies.
 */
export function matchPrompt(
  { large, small, match }: Required<PromptModels>,
  options: {
    readonly window: number;
    readonly sums: { readonly large: Float32Array; readonly small: Float32Array };
    readonly policies: readonly ResolvedPolicy[];
  },
): HeadMatches {
  const { window: tokens, sums, policies } = options;
  const { config } = large.model;
  const own: HeadSaliency = { ...config, tokens, accumulated: sums.large };
  const other: HeadSaliency = { ...small.model.config, tokens, accumulated: sums.small };
  const groupSize = config.queryHeads / config.kvHeads;
  return new Map(
    [...new Set(policies.map(matchKind))].map((kind) => [
      kind,
      kind === "group"
        ? matchHeadGroups(own, other, { ...match, groupSize })
        : matchHeads(own, other, match),
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
 * Width of the matching window.
 *
 * @param models How heads are matched.
 * @param tokens The text.
 * @returns Tokens, at most 200 unless chosen otherwise.
 */
export function matchWidth(
  { match }: Pick<PromptModels, "match">,
  tokens: readonly number[],
): number {
  return Math.min(tokens.length, match.window ?? 200);
}
