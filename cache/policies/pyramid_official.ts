/**
 * PyramidInfer as published.
 *
 * @module
 */

import type { Policy } from "../policy.ts";
import { OFFICIAL_PRUNING, prunedPolicy } from "../pyramid_pruning.ts";

/** Deeper layers see fewer tokens of the prompt. Its settings decide how many, not the budget; the real cost is reported. */
export const pyramidOfficial: Policy = {
  ...prunedPolicy(OFFICIAL_PRUNING),
  name: "pyramid_official",
  summary:
    "PyramidInfer's own settings: fewer prompt tokens from layer to layer, at their own cost",
};
