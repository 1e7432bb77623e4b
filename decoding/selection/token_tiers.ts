/**
 * The tier of every token in every KV head at a step.
 *
 * @module
 */

import { TIER } from "../../cache/token_tier.ts";
import type { CacheBudget } from "../../cache/budget.ts";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import type { Selection } from "../../cache/policy.ts";
import type { ModelConfig } from "../../models/config.ts";

/** What decides the tier of a token that is kept. */
export interface TierRule {
  /** The policy. */
  readonly policy: ResolvedPolicy;
  /** What it may keep. */
  readonly budget: CacheBudget;
  /** Sizes of the large model. */
  readonly config: Pick<ModelConfig, "layers" | "kvHeads" | "headDim">;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
}

/**
 * Numbers the tokens of a step by tier; see docs/method.md, "Tiers".
 *
 * The first and the newest tokens that the counts of a layer set aside are `recent`, since both are kept for their
 * position. Of a policy under which dropped tokens may return, the host has the rest.
 *
 * Where each query head selects alone, a KV head has what any of its query heads has; where a layer selects, all of its KV
 * heads have the same.
 *
 * @param selections What the step's attention saw, [groups]: of KV heads, query heads or layers.
 * @param seen Tokens that it could have seen.
 * @returns Numbers of `TIER`, [layers * KV heads, seen].
 */
export function tokenTiers(
  selections: readonly Selection[],
  seen: number,
  { policy, budget, config, promptTokens }: TierRule,
): Uint8Array<ArrayBuffer> {
  const { layers, kvHeads, headDim } = config;
  const request = { budget, tokens: seen, promptTokens, layers, headDim };
  const tiers = new Uint8Array(layers * kvHeads * seen).fill(restTier(policy));
  const headsPerGroup = layers * kvHeads / selections.length;
  selections.forEach((selection, group) => {
    const first = Math.floor(group * headsPerGroup);
    const counts = policy.counts({ ...request, layer: Math.floor(first / kvHeads) });
    for (let head = first; head < Math.ceil((group + 1) * headsPerGroup); head++) {
      holdTokens(tiers.subarray(head * seen, (head + 1) * seen), selection, counts);
    }
  });
  return tiers;
}

/** Tier of tokens that the device does not hold. */
export function restTier({ candidates }: Pick<ResolvedPolicy, "candidates">): number {
  return candidates === "all" ? TIER.host : TIER.dropped;
}

/**
 * Numbers the tokens that a selection holds.
 *
 * @param row Numbers so far, [seen]; a token that has more already keeps it.
 * @param counts How many of the first and of the newest tokens are set aside.
 */
export function holdTokens(
  row: Uint8Array,
  { full, valueOnly }: Selection,
  { sink, recent }: { readonly sink: number; readonly recent: number },
): void {
  const newest = full.length - recent;
  // Numbers of tiers grow with what is held.
  const hold = (position: number, tier: number) => row[position] = Math.max(row[position]!, tier);
  full.forEach((position, rank) =>
    hold(position, position < sink || rank >= newest ? TIER.recent : TIER.critical)
  );
  for (const position of valueOnly) hold(position, TIER.marginal);
}
