/**
 * SnapKV: the prompt tokens that the end of the prompt attends to, and all generated tokens.
 *
 * @module
 */

import { wholeEntries } from "../budget.ts";
import type { Policy } from "../policy.ts";
import { CHOSEN_ONCE } from "../prompt_policy.ts";
import { observationWindow } from "../scores/observation_window.ts";

/** Prompt rows that vote, as in the official settings. */
const WINDOW = 32;

/** Compresses the prompt once. Its real cost grows with every generated token and is reported. */
export const snapkv: Policy = {
  ...CHOSEN_ONCE,
  name: "snapkv",
  summary: "prompt tokens chosen once by the prompt's last rows, and everything generated",
  source: "https://arxiv.org/abs/2404.14469",
  score: observationWindow({ rows: WINDOW, pool: 7 }),
  counts({ budget, tokens, promptTokens }) {
    const entries = wholeEntries(budget, promptTokens);
    const window = Math.min(WINDOW, entries);
    const recent = window + tokens - promptTokens;
    return { sink: 0, recent, critical: entries - window, marginal: 0 };
  },
};
