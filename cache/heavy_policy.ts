/**
 * Common parts of policies that keep the best older tokens and a recent window, and drop the rest for good.
 *
 * @module
 */

import { wholeEntries } from "./budget.ts";
import type { Policy } from "./policy.ts";

/** Counts and timing of H2O: half of the budget for heavy hitters, half for the newest tokens. */
export const HEAVY_AND_RECENT: Omit<Policy, "name" | "summary"> = {
  saliencySource: "large",
  candidates: "kept",
  timing: "after",
  granularity: "kv_head",
  interval: 1,
  ties: "later",
  accepts: ["base", "heavyRatio", "interval", "minimumTokens"],
  counts({ budget, tokens, heavyRatio = 1, sink = 0 }) {
    const entries = wholeEntries(budget, tokens);
    const heavy = Math.floor(entries * heavyRatio / (heavyRatio + 1));
    const first = Math.min(sink, heavy);
    return { sink: first, recent: entries - heavy, critical: heavy - first, marginal: 0 };
  },
};

/**
 * Makes the counts and timing of policies that keep a short window of the newest tokens, whose queries rank all others.
 *
 * @param window Tokens of the window; half of the entries where that is fewer.
 */
export function windowAndRanked(window: number): Omit<Policy, "name" | "summary"> {
  return {
    ...HEAVY_AND_RECENT,
    interval: 16,
    ties: "earlier",
    accepts: ["base", "interval", "minimumTokens"],
    counts({ budget, tokens }) {
      const entries = wholeEntries(budget, tokens);
      const recent = Math.min(window, Math.ceil(entries / 2));
      return { sink: 0, recent, critical: entries - recent, marginal: 0 };
    },
  };
}
