/**
 * KVzip: the prompt tokens that the model needs to write its prompt again, and all generated tokens.
 *
 * @module
 */

import { wholeEntries } from "../budget.ts";
import type { Policy } from "../policy.ts";
import { CHOSEN_ONCE } from "../prompt_policy.ts";
import { reconstruction } from "../scores/reconstruction.ts";

/** First tokens always kept, as KVzip keeps the system's words. */
const SINKS = 4;

/** Compresses the prompt once, after reading it twice. Its real cost grows with every generated token and is reported. */
export const kvzip: Policy = {
  ...CHOSEN_ONCE,
  name: "kvzip",
  summary: "prompt tokens that a repetition of the prompt attends to, and everything generated",
  source: "https://arxiv.org/abs/2505.23416",
  score: reconstruction(),
  counts({ budget, tokens, promptTokens }) {
    const entries = wholeEntries(budget, promptTokens);
    const sink = Math.min(SINKS, entries - 1);
    const recent = 1 + tokens - promptTokens;
    return { sink, recent, critical: entries - 1 - sink, marginal: 0 };
  },
};
