/**
 * Similarity of the heads of a pair, next to its null models.
 *
 * @module
 */

import { type HeadMatch, matchHeads, matchingWindow } from "../../analysis/head_match.ts";
import { meanHeadMatch, randomHeadMatch } from "../../analysis/null_match.ts";
import { RequirementError } from "../../core/check.ts";
import type { Model } from "../../models/load.ts";
import { traceAttention } from "../session/trace.ts";

/** What heads receive in comparison with small heads; all arrays but sums are [heads of the large model]. */
export interface HeadComparison {
  /** First tokens of the prompt on which heads were compared. */
  readonly tokens: number;
  /** Attention that tokens receive in heads of the large model, [heads, tokens]. */
  readonly large: Float32Array;
  /** The same of the small model. */
  readonly small: Float32Array;
  /** Small head of each large head. */
  readonly match: Uint32Array;
  /** Similarity to the matched head. */
  readonly matched: Similarities;
  /** Similarity to a small head drawn at random. */
  readonly random: Similarities;
  /** Similarity to the mean of all small heads. */
  readonly mean: Similarities;
}

/** Two similarities of each large head. */
export interface Similarities {
  /** Jaccard similarity of the sets of salient tokens. */
  readonly jaccard: Float64Array;
  /** Cosine of the attention that tokens receive. */
  readonly cosine: Float64Array;
}

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
  pair: { readonly large: Model; readonly small?: Model },
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

function similarities({ similarity, cosine }: HeadMatch): Similarities {
  return { jaccard: similarity, cosine };
}
