/**
 * Quest: tokens of the pages whose keys can score highest.
 *
 * @module
 */

import { SPLIT_OPTIONS } from "../budget.ts";
import type { Policy } from "../policy.ts";
import { SPLIT_BEFORE_ATTENTION } from "../split_policy.ts";

/**
 * Pages ranked within each layer by the bound of query times key over each page (D-33). Where the paper lets each query
 * head choose whole pages, the heads of a KV head choose together, and a budget may end within a page.
 */
export const quest: Policy = {
  ...SPLIT_BEFORE_ATTENTION,
  name: "quest",
  summary: "tokens of the pages whose keys can score highest with a layer's own query",
  source: "https://arxiv.org/abs/2406.10774",
  saliencySource: "large",
  index: ({ page }) => ({ kind: "pages", pageTokens: page }),
  accepts: [...SPLIT_OPTIONS, "charge", "page"],
  defaults: { marginal: false },
};
