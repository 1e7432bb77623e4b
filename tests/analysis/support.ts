/**
 * Random attention for the analysis tests.
 *
 * @module
 */

import { accumulateAttention, type AttentionMap } from "../../analysis/attention_map.ts";
import type { HeadSaliency } from "../../analysis/head_saliency.ts";
import type { Random } from "../../core/random.ts";

/** Shape of a random model. */
export interface RandomShape {
  readonly layers: number;
  readonly queryHeads: number;
  readonly tokens: number;
}

/** Makes a causal map with rows of softmax-like weights. */
export function randomMap(random: Random, tokens: number): AttentionMap {
  const values = new Float32Array(tokens * tokens);
  for (let query = 0; query < tokens; query++) {
    const row = Array.from({ length: query + 1 }, () => Math.exp(4 * random()));
    const total = row.reduce((sum, value) => sum + value, 0);
    row.forEach((value, key) => values[query * tokens + key] = value / total);
  }
  return { layer: 0, head: 0, queries: tokens, keys: tokens, values };
}

/** Makes the accumulated attention of a random model; the sums of each head are those of a causal map. */
export function randomHeads(random: Random, shape: RandomShape): HeadSaliency {
  const { layers, queryHeads, tokens } = shape;
  const accumulated = new Float32Array(layers * queryHeads * tokens);
  for (let head = 0; head < layers * queryHeads; head++) {
    accumulated.set(accumulateAttention(randomMap(random, tokens)), head * tokens);
  }
  return { layers, queryHeads, tokens, accumulated };
}

/** Makes heads with few distinct values, so that ties are common. */
export function tiedHeads(random: Random, shape: RandomShape): HeadSaliency {
  const { layers, queryHeads, tokens } = shape;
  const accumulated = Float32Array.from(
    { length: layers * queryHeads * tokens },
    () => 1 + Math.floor(3 * random()),
  );
  return { layers, queryHeads, tokens, accumulated };
}
