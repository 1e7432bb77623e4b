/**
 * Similarity of the heads of a pair, next to its null models.
 *
 * @module
 */

import { type HeadMatch, matchHeads, matchingWindow } from "../../analysis/head_match.ts";
import { meanHeadMatch, randomHeadMatch } from "../../analysis/null_match.ts";
import { RequirementError } from "../../core/check.ts";
import { traceAttention } from "../../decoding/session/trace.ts";
import type { ModelPair } from "../../decoding/engine/types.ts";
import type { Model } from "../../models/load.ts";
import {
  type HeadComparison,
  type HeadPlace,
  MAX_MAP_TOKENS,
  type ShownMap,
  type Similarities,
} from "../messages.ts";

/** Seed of the random small heads. */
const SEED = 1;

/**
 * Matches the heads of a pair on the first tokens of a prompt.
 *
 * @param pair Models.
 * @param prompt Token ids.
 * @param signal Ends the work.
 * @returns Sums of attention, matches, similarities.
 * @throws {RequirementError} If there is no small model or the prompt is too short.
 */
export async function compareHeads(
  pair: ModelPair,
  prompt: readonly number[],
  signal?: AbortSignal,
): Promise<HeadComparison> {
  if (!pair.small) {
    const requirement = "there must be a small model";
    throw new RequirementError({ action: "compare heads", requirement, current: "none" });
  }
  const tokens = prompt.slice(0, matchingWindow(prompt.length));
  const options = { ...(signal && { signal }) };
  const large = await traceAttention(pair.large, tokens, options);
  const small = await traceAttention(pair.small, tokens, options);
  const match = matchHeads(large, small);
  return {
    tokens: tokens.length,
    large: large.accumulated,
    small: small.accumulated,
    match: match.match,
    matched: similarities(match),
    random: similarities(randomHeadMatch(large, small, { seed: SEED })),
    mean: similarities(meanHeadMatch(large, small)),
  };
}

/**
 * Computes the attention map of a head on the first tokens of a prompt.
 *
 * @param model The model.
 * @param prompt Token ids.
 * @param head Which head.
 * @returns The map of at most `MAX_MAP_TOKENS` tokens.
 */
export async function headMap(
  model: Model,
  prompt: readonly number[],
  head: HeadPlace,
): Promise<ShownMap> {
  const tokens = prompt.slice(0, MAX_MAP_TOKENS);
  const { maps: [map] } = await traceAttention(model, tokens, {
    heads: [[head.layer, head.head]],
    accumulated: false,
  });
  return { head, tokens: tokens.length, values: map!.values };
}

function similarities({ similarity, cosine }: HeadMatch): Similarities {
  return { jaccard: similarity, cosine };
}
