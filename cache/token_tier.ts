/**
 * What a cache holds of a token, as numbers and names.
 *
 * @module
 */

/** Tiers in the order of what they cost: the place of a name is its number. */
export const TIER_NAMES = ["dropped", "host", "marginal", "critical", "recent"] as const;

/** One of `TIER_NAMES`. */
export type TierName = typeof TIER_NAMES[number];

/** Numbers of the tiers. */
export const TIER: Readonly<Record<TierName, number>> = {
  dropped: 0,
  host: 1,
  marginal: 2,
  critical: 3,
  recent: 4,
};
