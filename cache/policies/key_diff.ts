/**
 * Keys that differ from the mean key, and a recent window.
 *
 * @module
 */

import { HEAVY_AND_RECENT } from "../heavy_policy.ts";
import type { Policy } from "../policy.ts";
import { keyDiff as score } from "../scores/key_diff.ts";

/** The counts of H2O, with tokens ranked by how little their keys resemble the mean key. */
export const keyDiff: Policy = {
  ...HEAVY_AND_RECENT,
  name: "key_diff",
  summary: "tokens whose keys differ most from the mean key, and as many recent ones",
  source: "https://arxiv.org/abs/2504.15364",
  score: score(),
};
