/**
 * What tokens received when everything was kept, next to what a policy kept.
 *
 * @module
 */

import { TIER } from "../../cache/token_tier.ts";

/** What a token is to a step: its place in this list is its number. */
export const NEED_NAMES = ["rest", "missed", "borrowed", "spare", "needed", "recent"] as const;

/** One of `NEED_NAMES`. */
export type NeedName = typeof NEED_NAMES[number];

/** Numbers of them. */
const NEED = Object.fromEntries(NEED_NAMES.map((name, number) => [name, number])) as Readonly<
  Record<NeedName, number>
>;

/**
 * Compares what a policy held at a step with what ranks highest where nothing is dropped.
 *
 * A step needs as many of the tokens that are not kept for their place as the policy held there with key and value: those
 * that have received most, this step's own attention included.
 *
 * @param tiers Tier of each token.
 * @param received Attention that each has received with everything kept.
 * @returns Numbers of `NEED_NAMES`.
 */
export function needsOf(tiers: Uint8Array, received: Float32Array): Uint8Array<ArrayBuffer> {
  const open = [...tiers.keys()].filter((token) => tiers[token] !== TIER.recent);
  const count = open.filter((token) => tiers[token] === TIER.critical).length;
  const needed = new Set(open.sort((a, b) => received[b]! - received[a]!).slice(0, count));
  return Uint8Array.from(tiers, (tier, token) => {
    if (tier === TIER.recent) return NEED.recent;
    if (tier === TIER.critical) return needed.has(token) ? NEED.needed : NEED.spare;
    if (!needed.has(token)) return NEED.rest;
    return tier === TIER.marginal ? NEED.borrowed : NEED.missed;
  });
}

/** How much a policy missed until a step. */
export interface MissedView {
  /** Tokens that the step needed and the device did not hold. */
  readonly missed: number;
  /** Tokens that the step needed. */
  readonly needed: number;
  /** Different tokens that were missed at any step so far. */
  readonly ever: number;
}

/** Counts what the rows of a film say, up to one of them. */
export function missedOf(rows: readonly Uint8Array[]): MissedView {
  const last = rows.at(-1) ?? new Uint8Array(0);
  const count = (...kinds: readonly number[]) => last.filter((kind) => kinds.includes(kind)).length;
  const ever = new Set<number>();
  for (const row of rows) {
    row.forEach((kind, token) => {
      if (kind === NEED.missed) ever.add(token);
    });
  }
  return {
    missed: count(NEED.missed),
    needed: count(NEED.missed, NEED.borrowed, NEED.needed),
    ever: ever.size,
  };
}
