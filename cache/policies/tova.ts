/**
 * TOVA: the tokens that the newest query attends to most.
 *
 * @module
 */

import { wholeEntries } from "../budget.ts";
import type { Policy } from "../policy.ts";
import { lastRow } from "../scores/fading_sum.ts";

/** Drops the token with the least attention in the newest row, averaged over a layer's heads. */
export const tova: Policy = {
  name: "tova",
  summary: "tokens with the most attention in the newest row, one choice per layer",
  source: "https://arxiv.org/abs/2401.06104",
  saliencySource: "large",
  score: lastRow(),
  candidates: "kept",
  timing: "after",
  granularity: "layer",
  interval: 1,
  ties: "later",
  counts({ budget, tokens }) {
    const entries = wholeEntries(budget, tokens);
    return { sink: 0, recent: 1, critical: entries - 1, marginal: 0 };
  },
};
