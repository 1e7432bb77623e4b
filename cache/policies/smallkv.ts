/**
 * SmallKV: the matched heads of a small model, which keeps its whole cache, choose at every step.
 *
 * @module
 */

import type { Policy } from "../policy.ts";
import { SPLIT_BEFORE_ATTENTION } from "../split_policy.ts";

/** Critical and recent tokens with key and value, marginal ones with value only; dropped tokens may return. */
export const smallkv: Policy = {
  ...SPLIT_BEFORE_ATTENTION,
  name: "smallkv",
  summary:
    "critical, recent and marginal tokens, 2 : 1 : 2, by the attention of matched small heads",
  source: "https://arxiv.org/abs/2508.02751",
  saliencySource: "small",
};
