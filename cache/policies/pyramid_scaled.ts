/**
 * PyramidInfer at a given budget.
 *
 * @module
 */

import type { Policy } from "../policy.ts";
import { prunedPolicy, SCALED_PRUNING } from "../pyramid_pruning.ts";

/** A cut at the first layer, then the official schedule: the prompt keeps to the budget, generated tokens to the official share. */
export const pyramidScaled: Policy = {
  ...prunedPolicy(SCALED_PRUNING),
  name: "pyramid_scaled",
  summary: "PyramidInfer's pruning of the prompt after a cut that brings its mean to the budget",
};
