/**
 * SmallKV: the matched heads of a small model, which keeps its whole cache, choose at every step.
 *
 * @module
 */

import { SPLIT_OPTIONS, splitBudget } from "../budget.ts";
import type { Policy } from "../policy.ts";

/** Critical and recent tokens with key and value, marginal ones with value only; dropped tokens may return. */
export const smallkv: Policy = {
  name: "smallkv",
  summary:
    "critical, recent and marginal tokens, 2 : 1 : 2, by the attention of matched small heads",
  source: "https://arxiv.org/abs/2508.02751",
  saliencySource: "small",
  candidates: "all",
  timing: "before",
  granularity: "kv_head",
  interval: 1,
  ties: "earlier",
  accepts: SPLIT_OPTIONS,
  counts: (request) => splitBudget(request.budget, request.tokens, request),
};
