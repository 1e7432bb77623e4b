/**
 * Heads that share one selection of tokens, and how their scores join.
 *
 * @module
 */

import type { Granularity } from "../../cache/options.ts";
import type { Reduction } from "../../cache/policy_options.ts";
import type { ModelConfig } from "../../models/config.ts";

/** How query heads are grouped; flat unit = layer * perLayer + k, with `heads` consecutive query heads each. */
export interface UnitShape {
  /** Units of a layer. */
  readonly perLayer: number;
  /** Query heads of a unit. */
  readonly heads: number;
  /** Units of the model. */
  readonly total: number;
}

/**
 * Groups the query heads of a model.
 *
 * @param config Sizes of the model.
 * @param granularity What shares a selection (D-15).
 * @returns Counts.
 */
export function unitShape(config: ModelConfig, granularity: Granularity): UnitShape {
  const { layers, queryHeads, kvHeads } = config;
  const perLayer = granularity === "query_head"
    ? queryHeads
    : granularity === "layer"
    ? 1
    : kvHeads;
  return { perLayer, heads: queryHeads / perLayer, total: layers * perLayer };
}

/**
 * Groups the query heads of a model as kernels list tokens: a layer's one selection is listed for each KV head.
 *
 * @param config Sizes of the model.
 * @param granularity What shares a selection.
 * @returns Counts.
 */
export function listUnits(config: ModelConfig, granularity: Granularity): UnitShape {
  return unitShape(config, granularity === "layer" ? "kv_head" : granularity);
}

/**
 * Joins the scores of the query heads of each unit.
 *
 * @param scores Scores of each query head, [units * heads, tokens].
 * @param units How heads are grouped.
 * @param reduction Mean, sum or maximum.
 * @returns Scores of each unit, [units, tokens].
 */
export function joinHeads(
  scores: Float32Array,
  units: Pick<UnitShape, "total" | "heads">,
  reduction: Reduction,
): Float32Array<ArrayBuffer> {
  const tokens = scores.length / (units.total * units.heads);
  const joined = new Float32Array(units.total * tokens);
  for (let unit = 0; unit < units.total; unit++) {
    for (let token = 0; token < tokens; token++) {
      let value = 0;
      for (let k = 0; k < units.heads; k++) {
        const score = scores[(unit * units.heads + k) * tokens + token]!;
        value = reduction === "max" ? Math.max(value, score) : value + score;
      }
      joined[unit * tokens + token] = reduction === "mean" ? value / units.heads : value;
    }
  }
  return joined;
}
