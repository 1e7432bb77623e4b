/**
 * SnapKV while text is decoded: what the newest queries attend to, chosen again and again.
 *
 * @module
 */

import { windowAndRanked } from "../heavy_policy.ts";
import type { Policy } from "../policy.ts";
import { newestWindow } from "../scores/newest_window.ts";

/** Newest queries that vote and are kept, as where R-KV compares itself with SnapKV. */
const WINDOW = 8;

/** Chooses by the end of the prompt and then every 16 steps, so that the cost in between lies above the budget. */
export const snapkvDecoding: Policy = {
  ...windowAndRanked(WINDOW),
  name: "snapkv_decoding",
  summary: "tokens that the newest queries attend to, chosen again every 16 steps",
  source: "https://arxiv.org/abs/2404.14469",
  score: newestWindow({ rows: WINDOW, pool: 7 }),
};
