/**
 * The tier of every token in every KV head at a step.
 *
 * @module
 */

import type { CacheBudget } from "../../cache/budget.ts";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import type { Selection } from "../../cache/policy.ts";
import type { ModelConfig } from "../../models/config.ts";
import { TIER } from "../messages.ts";

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
 * @param selections What the step's attention saw, [layers * KV heads].
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
  const rest = policy.candidates === "all" ? TIER.host : TIER.dropped;
  const tiers = new Uint8Array(selections.length * seen).fill(rest);
  selections.forEach(({ full, valueOnly }, group) => {
    const counts = policy.counts({ ...request, layer: Math.floor(group / kvHeads) });
    const row = tiers.subarray(group * seen, (group + 1) * seen);
    const newest = full.length - counts.recent;
    full.forEach((position, rank) => {
      const isPlaced = position < counts.sink || rank >= newest;
      row[position] = isPlaced ? TIER.recent : TIER.critical;
    });
    for (const position of valueOnly) row[position] = TIER.marginal;
  });
  return tiers;
}
