/**
 * SmallKV ranked by what the small model attends to now instead of what it has attended to so far.
 *
 * @module
 */

import { SPLIT_OPTIONS, splitBudget } from "../budget.ts";
import type { Policy } from "../policy.ts";

/** As `smallkv`, ranked by a decayed sum of the matched heads' rows, the newest one counting most (D-30). */
export const smallkvQueryAware: Policy = {
  name: "smallkv_query_aware",
  summary: "tiers of SmallKV, ranked by what matched small heads attend to now",
  saliencySource: "small",
  candidates: "all",
  timing: "before",
  granularity: "kv_head",
  interval: 1,
  ties: "earlier",
  accepts: SPLIT_OPTIONS,
  defaults: { score: "decayed" },
  counts: (request) => splitBudget(request.budget, request.tokens, request),
};
