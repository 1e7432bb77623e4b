/**
 * What the policies that prune the prompt as PyramidInfer does have in common.
 *
 * @see {@link https://arxiv.org/abs/2405.12532 | PyramidInfer}
 * @module
 */

import type { Policy } from "./policy.ts";
import {
  isBlockFull,
  NEWEST_WEIGHT,
  planBlocks,
  prunePrompt,
  type Pruning,
  pyramidCounts,
} from "./pyramid_pruning.ts";
import { window } from "./scores/window.ts";

/**
 * Makes a policy of the sizes that a prompt is pruned to.
 *
 * @param pruning How many tokens each layer keeps.
 * @returns All of the policy but its name and summary.
 */
export function prunedPolicy({ sizes }: Pruning): Omit<Policy, "name" | "summary"> {
  return {
    source: "https://arxiv.org/abs/2405.12532",
    saliencySource: "large",
    score: window({ rows: (request) => sizes(request).recent, newestWeight: NEWEST_WEIGHT }),
    candidates: "kept",
    timing: "after",
    granularity: "layer",
    interval: 1,
    ties: "earlier",
    accepts: ["minimumTokens"],
    isUnbounded: true,
    counts: (request) => pyramidCounts(request, sizes(request)),
    due: (request) => isBlockFull(request, sizes(request)),
    plan: (view) => planBlocks(view, sizes(view)),
    prune: (view) => prunePrompt(view, sizes(view)),
  };
}
