/**
 * SmallKV ranked by what the small model attends to now instead of what it has attended to so far.
 *
 * @module
 */

import type { Policy } from "../policy.ts";
import { SPLIT_BEFORE_ATTENTION } from "../split_policy.ts";

/** As `smallkv`, ranked by a decayed sum of the matched heads' rows, the newest one counting most (D-30). */
export const smallkvQueryAware: Policy = {
  ...SPLIT_BEFORE_ATTENTION,
  name: "smallkv_query_aware",
  summary: "tiers of SmallKV, ranked by what matched small heads attend to now",
  saliencySource: "small",
  defaults: { score: "decayed" },
};
