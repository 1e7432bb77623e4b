/**
 * H2O: heavy hitters by accumulated attention, and a recent window.
 *
 * @module
 */

import { wholeEntries } from "../budget.ts";
import type { Policy } from "../policy.ts";

/** Half of the budget for heavy hitters, half for the newest tokens; what it drops never returns. */
export const h2o: Policy = {
  name: "h2o",
  summary:
    "heavy hitters by the large model's own accumulated attention, and as many recent tokens",
  source: "https://arxiv.org/abs/2306.14048",
  scores: "own",
  memory: "sum",
  candidates: "kept",
  timing: "after",
  granularity: "kv_head",
  interval: 1,
  ties: "later",
  accepts: ["base", "heavyRatio", "interval", "minimumTokens"],
  counts({ budget, tokens, heavyRatio = 1 }) {
    const entries = wholeEntries(budget, tokens);
    const critical = Math.floor(entries * heavyRatio / (heavyRatio + 1));
    return { sink: 0, recent: entries - critical, critical, marginal: 0 };
  },
};
