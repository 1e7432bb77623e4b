/**
 * StreamingLLM: attention sinks and a recent window.
 *
 * @module
 */

import { wholeEntries } from "../budget.ts";
import type { Policy } from "../policy.ts";

/** Keeps the first tokens and the newest ones; `positions: "slot"` counts positions in the cache, as the paper does. */
export const streaming: Policy = {
  name: "streaming",
  summary: "the first four tokens and the newest",
  source: "https://arxiv.org/abs/2309.17453",
  saliencySource: "none",
  candidates: "kept",
  timing: "before",
  granularity: "kv_head",
  interval: 1,
  ties: "earlier",
  accepts: ["base", "interval", "minimumTokens", "sink"],
  defaults: { sink: 4 },
  counts({ budget, tokens, sink = 4 }) {
    const entries = wholeEntries(budget, tokens);
    const first = Math.min(sink, entries - 1);
    return { sink: first, recent: entries - first, critical: 0, marginal: 0 };
  },
};
