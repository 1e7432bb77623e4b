/**
 * PyramidInfer at a budget that is asked for.
 *
 * @module
 */

import type { Policy } from "../policy.ts";
import { prunedPolicy, SCALED_PRUNING } from "../pyramid_pruning.ts";

/** A cut at the first layer, then the official schedule; the prompt keeps the budget, generated tokens the official share. */
export const pyramidScaled: Policy = {
  ...prunedPolicy(SCALED_PRUNING),
  name: "pyramid_scaled",
  summary: "PyramidInfer's own pruning of the prompt behind a cut that makes its mean the budget",
};
