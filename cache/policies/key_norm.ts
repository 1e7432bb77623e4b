/**
 * Short keys and a recent window.
 *
 * @module
 */

import { HEAVY_AND_RECENT } from "../heavy_policy.ts";
import type { Policy } from "../policy.ts";
import { keyNorm as score } from "../scores/key_norm.ts";

/** The counts of H2O, with tokens ranked by how short their keys are. */
export const keyNorm: Policy = {
  ...HEAVY_AND_RECENT,
  name: "key_norm",
  summary: "tokens with short keys, and as many recent ones",
  source: "https://arxiv.org/abs/2406.11430",
  score: score(),
};
