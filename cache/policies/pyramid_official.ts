/**
 * PyramidInfer as published.
 *
 * @module
 */

import type { Policy } from "../policy.ts";
import {
  isBlockFull,
  OFFICIAL_PRUNING,
  planBlocks,
  prunePrompt,
  pyramidCounts,
} from "../pyramid_pruning.ts";

const { sizes } = OFFICIAL_PRUNING;

/** Deeper layers see fewer tokens of the prompt; its settings, not the budget, say how many, and the real cost is reported. */
export const pyramidOfficial: Policy = {
  name: "pyramid_official",
  summary:
    "PyramidInfer's own settings: fewer prompt tokens from layer to layer, at their own cost",
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
