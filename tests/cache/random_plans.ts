/**
 * Random selections that change the way real ones do: some tokens leave, some return, some lose or regain their key.
 *
 * @module
 */

import type { Selection } from "../../cache/policy.ts";
import { seededRandom } from "../../core/random.ts";

/** Most tokens of a plan. */
export interface PlanLimits {
  /** With key and value. */
  readonly full: number;
  /** With value only. */
  readonly valueOnly: number;
  /** Whether only tokens of the plan before may stay, with no more than they hold. */
  readonly isPermanent?: boolean;
}

/**
 * Makes plans one after the other.
 *
 * @param seed Seed of the random numbers.
 * @param limits Most tokens.
 * @returns A function from the newest token to a plan with it.
 */
export function planMaker(seed: number, limits: PlanLimits): (newest: number) => Selection {
  const random = seededRandom(seed);
  let before: Selection = { full: new Uint32Array(), valueOnly: new Uint32Array() };
  return (newest) => {
    const isFirst = before.full.length === 0;
    const old = new Set([...before.full, ...before.valueOnly]);
    const isOpen = (token: number) => isFirst || !limits.isPermanent || old.has(token);
    const churn = random();
    const score = (token: number) =>
      random() * (old.has(token) ? 1 : churn) + (isOpen(token) ? 2 : 0);
    const candidates = Array.from({ length: newest }, (_, token) => token);
    const ranked = candidates.filter(isOpen).map((token) => [score(token), token] as const)
      .sort((a, b) => b[0] - a[0]).map(([, token]) => token);
    const lostKeys = new Set(limits.isPermanent && !isFirst ? before.valueOnly : []);
    const room = Math.floor((limits.full - 1) * (0.5 + 0.5 * random()) + 0.5);
    const kept = ranked.filter((token) => !lostKeys.has(token)).slice(0, room);
    const others = ranked.filter((token) => !kept.includes(token));
    const marginal = others.slice(0, Math.floor((limits.valueOnly + 1) * random()));
    before = {
      full: Uint32Array.from([...kept, newest]).sort(),
      valueOnly: Uint32Array.from(marginal).sort(),
    };
    return before;
  };
}
