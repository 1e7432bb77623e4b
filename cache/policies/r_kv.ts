/**
 * R-KV: important tokens whose keys do not repeat each other.
 *
 * @module
 */

import { windowAndRanked } from "../heavy_policy.ts";
import type { Policy } from "../policy.ts";
import { importanceAndRedundancy } from "../scores/importance_and_redundancy.ts";

/** Newest queries that vote and are kept, as published. */
const WINDOW = 8;

/** The paper's buffer of 128 generated tokens is `interval: 128`; by default tokens are chosen every 16 steps. */
export const rKv: Policy = {
  ...windowAndRanked(WINDOW),
  name: "r_kv",
  summary: "tokens that the newest queries attend to and whose keys do not repeat others",
  source: "https://arxiv.org/abs/2505.24133",
  score: importanceAndRedundancy({ rows: WINDOW, pool: 7, lambda: 0.1, similar: 0.5 }),
};
