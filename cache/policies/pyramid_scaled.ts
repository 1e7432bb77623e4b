/**
 * PyramidInfer at a budget that is asked for.
 *
 * @module
 */

import type { Policy } from "../policy.ts";
import {
  isBlockFull,
  planBlocks,
  prunePrompt,
  pyramidCounts,
  SCALED_PRUNING,
} from "../pyramid_pruning.ts";

const { sizes } = SCALED_PRUNING;

/** A cut at the first layer, then the official schedule; the prompt keeps the budget, generated tokens the official share. */
export const pyramidScaled: Policy = {
  name: "pyramid_scaled",
  summary: "PyramidInfer's own pruning of the prompt behind a cut that makes its mean the budget",
  source: "https://arxiv.org/abs/2405.12532",
  scores: "own",
  memory: "window",
  candidates: "kept",
  timing: "after",
  granularity: "layer",
  interval: 1,
  ties: "earlier",
  accepts: ["minimumTokens"],
  isUnbounded: true,
  promptRows: (request) => sizes(request).recent,
  counts: (request) => pyramidCounts(request, sizes(request)),
  due: (request) => isBlockFull(request, sizes(request)),
  plan: (view) => planBlocks(view, sizes(view)),
  prune: (view) => prunePrompt(view, sizes(view)),
};
