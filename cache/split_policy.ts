/**
 * What policies have in common that split their budget as SmallKV does and choose before a step's attention.
 *
 * @module
 */

import { SPLIT_OPTIONS, splitBudget } from "./budget.ts";
import type { Policy } from "./policy.ts";

/** Candidates, timing and counts of SmallKV: any token may return, and tokens are chosen at every step. */
export const SPLIT_BEFORE_ATTENTION = {
  candidates: "all",
  timing: "before",
  granularity: "kv_head",
  interval: 1,
  ties: "earlier",
  accepts: SPLIT_OPTIONS,
  counts: (request) => splitBudget(request.budget, request.tokens, request),
} as const satisfies Omit<Policy, "name" | "summary" | "saliencySource">;
