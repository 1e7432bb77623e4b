/**
 * Null models of head similarity: the similarity without any matching. Sinks and the causal profile are common to all
 * heads, so that a similarity only means something in comparison with these.
 *
 * @module
 */

import { randomInteger, seededRandom } from "../core/random.ts";
import { compareHeads, type HeadMatch, type MatchOptions } from "./head_match.ts";
import type { HeadSaliency } from "./head_saliency.ts";

/** Which tokens are compared. */
export type CompareOptions = Pick<MatchOptions, "topShare" | "topTokens" | "ignoredTokens">;

/**
 * Compares every large head with a small head drawn at random.
 *
 * @param large Large model.
 * @param small Small model, over the same tokens.
 * @param options Seed of the draw, and which tokens are compared.
 * @returns The drawn pairs and their similarities.
 */
export function randomHeadMatch(
  large: HeadSaliency,
  small: HeadSaliency,
  options: CompareOptions & { readonly seed: number },
): HeadMatch {
  const random = seededRandom(options.seed);
  const heads = small.layers * small.queryHeads;
  const match = Uint32Array.from(
    { length: large.layers * large.queryHeads },
    () => randomInteger(random, heads),
  );
  return compareHeads(large, small, { ...options, match });
}

/**
 * Compares every large head with the mean of all small heads.
 *
 * @param large Large model.
 * @param small Small model, over the same tokens.
 * @param options Which tokens are compared.
 * @returns A match whose only small head, 0, is the mean.
 */
export function meanHeadMatch(
  large: HeadSaliency,
  small: HeadSaliency,
  options: CompareOptions = {},
): HeadMatch {
  const match = new Uint32Array(large.layers * large.queryHeads);
  return compareHeads(large, meanHead(small), { ...options, match });
}

/**
 * Averages all heads of a model.
 *
 * @param model The heads.
 * @returns A model of one layer with one head.
 */
export function meanHead(model: HeadSaliency): HeadSaliency {
  const heads = model.layers * model.queryHeads;
  const accumulated = totalSaliency(model).map((value) => value / heads);
  return { layers: 1, queryHeads: 1, tokens: model.tokens, accumulated };
}

/**
 * Sums accumulated attention over all heads (Fig. 2 and Fig. 9).
 *
 * @param model The heads.
 * @returns One number per token, summed in float64.
 */
export function totalSaliency(model: HeadSaliency): Float32Array {
  const sums = new Float64Array(model.tokens);
  for (let index = 0; index < model.accumulated.length; index++) {
    sums[index % model.tokens]! += model.accumulated[index]!;
  }
  return Float32Array.from(sums);
}
