/**
 * The complete cache.
 *
 * @module
 */

import type { Policy } from "../policy.ts";

/** Keeps every token, whatever the budget. */
export const full: Policy = {
  name: "full",
  summary: "every token",
  saliencySource: "none",
  candidates: "all",
  timing: "before",
  granularity: "kv_head",
  interval: 1,
  ties: "earlier",
  accepts: [],
  isUnbounded: true,
  counts: ({ tokens }) => ({ sink: 0, recent: tokens, critical: 0, marginal: 0 }),
};
