/**
 * Tokens that future queries are expected to attend to, and a recent window.
 *
 * @module
 */

import { HEAVY_AND_RECENT } from "../heavy_policy.ts";
import type { Policy } from "../policy.ts";
import { expectedAttention as score } from "../scores/expected_attention.ts";

/** Sinks, and the counts of H2O. Tokens are chosen every 16 steps only, since ranking is slow. */
export const expectedAttention: Policy = {
  ...HEAVY_AND_RECENT,
  name: "expected_attention",
  summary: "tokens that queries like the prompt's would attend to, and as many recent ones",
  source: "https://arxiv.org/abs/2510.00636",
  score: score(),
  interval: 16,
  accepts: ["base", "heavyRatio", "interval", "minimumTokens", "sink"],
  defaults: { sink: 4 },
};
