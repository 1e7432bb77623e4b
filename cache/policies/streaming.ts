/**
 * StreamingLLM: attention sinks and a recent window.
 *
 * @module
 */

import { wholeEntries } from "../budget.ts";
import type { Policy } from "../policy.ts";

/** First tokens that collect attention whatever they say. */
const SINKS = 4;

/** Keeps the first tokens and the newest ones; keys keep their original positions. */
export const streaming: Policy = {
  name: "streaming",
  summary: "the first four tokens and the newest",
  source: "https://arxiv.org/abs/2309.17453",
  scores: "none",
  candidates: "kept",
  timing: "before",
  granularity: "kv_head",
  interval: 1,
  ties: "earlier",
  counts({ budget, tokens }) {
    const entries = wholeEntries(budget, tokens);
    const sink = Math.min(SINKS, entries - 1);
    return { sink, recent: entries - sink, critical: 0, marginal: 0 };
  },
};
