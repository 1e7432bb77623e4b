/**
 * H2O: heavy hitters by accumulated attention, and a recent window.
 *
 * @module
 */

import { HEAVY_AND_RECENT } from "../heavy_policy.ts";
import type { Policy } from "../policy.ts";
import { sum } from "../scores/fading_sum.ts";

/** Half of the budget for heavy hitters, half for the newest tokens; what it drops never returns. */
export const h2o: Policy = {
  ...HEAVY_AND_RECENT,
  name: "h2o",
  summary: "heavy hitters by the large model's accumulated attention, and as many recent tokens",
  source: "https://arxiv.org/abs/2306.14048",
  score: sum(),
};
