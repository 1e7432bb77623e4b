/**
 * What a cache holds of each token, as numbers, names and colors.
 *
 * @module
 */

import type { Selection } from "../../cache/policy.ts";
import { HELD_COLORS } from "../../experiments/figures/token_views.ts";

/** Treatment of a token, in the order of what it costs; `later` tokens do not exist yet. */
export const TIERS = ["dropped", "marginal (value only)", "kept", "newest", "later"] as const;

/** Numbers of the tiers in views. */
export const TIER = { dropped: 0, valueOnly: 1, full: 2, newest: 3, later: 4 } as const;

/** Colors of the tiers, those of later tokens being that of paper. */
export const TIER_COLORS: readonly string[] = [
  HELD_COLORS.dropped,
  HELD_COLORS.valueOnly,
  HELD_COLORS.full,
  HELD_COLORS.newest,
  "#ffffff",
];

/**
 * Numbers the tokens of a step by tier.
 *
 * @param selection Tokens kept in full, and tokens kept as a value only.
 * @param options Tokens at this step, how many of the newest are always kept, and tokens at the end.
 * @returns Tier of each token, [length].
 */
export function tiersOf(
  selection: Selection,
  options: { readonly tokens: number; readonly recent: number; readonly length: number },
): Uint8Array {
  const { tokens, recent, length } = options;
  const tiers = new Uint8Array(length).fill(TIER.later, tokens);
  for (const position of selection.valueOnly) tiers[position] = TIER.valueOnly;
  for (const position of selection.full) {
    tiers[position] = position >= tokens - recent ? TIER.newest : TIER.full;
  }
  return tiers;
}
