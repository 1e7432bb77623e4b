/**
 * Heads that share one selection of tokens, and how their scores are joined.
 *
 * @module
 */

import type { Granularity } from "../../cache/options.ts";
import type { Reduction } from "../../cache/policy_options.ts";
import type { ModelConfig } from "../../models/config.ts";

/** How query heads are grouped; flat group = layer * perLayer + k, with `heads` consecutive query heads each. */
export interface HeadGroups {
  /** Head groups of a layer. */
  readonly perLayer: number;
  /** Query heads of a head group. */
  readonly heads: number;
  /** Head groups of the model. */
  readonly total: number;
}

/**
 * Groups the query heads of a model.
 *
 * @param config Sizes of the model.
 * @param granularity Which heads share a selection (D-15).
 * @returns Counts.
 */
export function headGroups(config: ModelConfig, granularity: Granularity): HeadGroups {
  const { layers, queryHeads, kvHeads } = config;
  const perLayer = granularity === "query_head"
    ? queryHeads
    : granularity === "layer"
    ? 1
    : kvHeads;
  return { perLayer, heads: queryHeads / perLayer, total: layers * perLayer };
}

/**
 * Groups the query heads of a model as kernels list tokens: a layer's single selection is listed for each KV head.
 */
export function listGroups(config: ModelConfig, granularity: Granularity): HeadGroups {
  return headGroups(config, granularity === "layer" ? "kv_head" : granularity);
}

/**
 * Joins the scores of the query heads of each head group.
 *
 * @param scores Scores of each query head, [groups * heads, tokens].
 * @param groups How heads are grouped.
 * @param reduction Mean, sum or maximum.
 * @returns Scores of each head group, [groups, tokens].
 */
export function joinHeads(
  scores: Float32Array,
  groups: Pick<HeadGroups, "total" | "heads">,
  reduction: Reduction,
): Float32Array<ArrayBuffer> {
  const tokens = scores.length / (groups.total * groups.heads);
  const joined = new Float32Array(groups.total * tokens);
  for (let group = 0; group < groups.total; group++) {
    for (let token = 0; token < tokens; token++) {
      let value = 0;
      for (let k = 0; k < groups.heads; k++) {
        const score = scores[(group * groups.heads + k) * tokens + token]!;
        value = reduction === "max" ? Math.max(value, score) : value + score;
      }
      joined[group * tokens + token] = reduction === "mean" ? value / groups.heads : value;
    }
  }
  return joined;
}
