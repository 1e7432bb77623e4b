/**
 * PyramidInfer with per-layer budgets whose mean is the given one.
 *
 * @module
 */

import { budgetShare, type CountRequest, type TierCounts } from "../budget.ts";
import type { Policy } from "../policy.ts";
import { pyramidEntries } from "../pyramid.ts";
import { NEWEST_WEIGHT } from "../pyramid_pruning.ts";
import { window } from "../scores/window.ts";

/** First tokens always kept, as in the official presets. */
const SINKS = 4;

function counts(request: CountRequest): TierCounts {
  const ratio = budgetShare(request.budget, request.tokens);
  const entries = Math.max(1, pyramidEntries({ ...request, ratio }));
  const { heavyRatio = 2 } = request;
  const recent = Math.max(1, Math.floor(entries / (heavyRatio + 1)));
  const sink = Math.min(SINKS, entries - recent);
  return { sink, recent, critical: entries - recent - sink, marginal: 0 };
}

/** Deeper layers keep fewer tokens. Layers shrink every 16 tokens, so the real cost is slightly above the budget. */
export const pyramidBudget: Policy = {
  name: "pyramid_budget",
  summary: "PyramidInfer's ranking and shrinking depth profile at a given mean budget",
  source: "https://arxiv.org/abs/2405.12532",
  saliencySource: "large",
  score: window({ rows: (request) => counts(request).recent, newestWeight: NEWEST_WEIGHT }),
  candidates: "kept",
  timing: "after",
  granularity: "layer",
  interval: 16,
  ties: "earlier",
  accepts: ["base", "heavyRatio", "interval", "minimumTokens"],
  defaults: { heavyRatio: 2 },
  counts,
};
