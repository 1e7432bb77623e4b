/**
 * What policies have in common that choose among the prompt's tokens once and keep everything generated.
 *
 * @module
 */

import type { Policy } from "./policy.ts";

/** Candidates and timing. The real cost grows with every generated token and is reported. */
export const CHOSEN_ONCE = {
  saliencySource: "large",
  candidates: "kept",
  timing: "after",
  granularity: "kv_head",
  interval: 1,
  ties: "earlier",
  accepts: ["minimumTokens"],
  isUnbounded: true,
} as const satisfies Omit<Policy, "name" | "summary" | "counts">;
