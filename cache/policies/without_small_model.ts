/**
 * The ablation without either compensation: SmallKV's counts, the large model's scores.
 *
 * @module
 */

import { splitBudget } from "../budget.ts";
import type { Policy } from "../policy.ts";
import { sum } from "../scores/fading_sum.ts";

/** Critical and recent tokens in the numbers of SmallKV without marginal tokens (D-25); drops for good. */
export const withoutSmallModel: Policy = {
  name: "without_small_model",
  summary: "SmallKV's counts without marginal tokens, ranked by the large model's attention",
  source: "https://arxiv.org/abs/2508.02751",
  saliencySource: "large",
  score: sum(),
  candidates: "kept",
  timing: "after",
  granularity: "kv_head",
  interval: 1,
  ties: "later",
  accepts: ["base", "coverage", "interval", "minimumTokens", "sink", "split"],
  counts: (request) => splitBudget(request.budget, request.tokens, { ...request, marginal: false }),
};
