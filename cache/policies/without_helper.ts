/**
 * The ablation without either compensation: SmallKV's sizes, the large model's own scores.
 *
 * @module
 */

import { splitBudget } from "../budget.ts";
import type { Policy } from "../policy.ts";
import { sum } from "../scores/fading_sum.ts";

/** Critical and recent tokens in the sizes that SmallKV without marginal tokens has (D-25); drops for good. */
export const withoutSmallModel: Policy = {
  name: "without_helper",
  summary: "SmallKV's sizes without marginal tokens, ranked by the large model's attention",
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
