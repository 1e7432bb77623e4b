/**
 * Head matching by groups: one small head for all query heads that share keys and values (D-15, `kv_match`).
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type HeadMatch, matchHeads, type MatchOptions } from "./head_match.ts";
import { checkHeadSaliency, type HeadSaliency } from "./head_saliency.ts";

/**
 * Matches every group of large heads, by the mean of their accumulated attention, with one small head.
 *
 * @param large Large model, over the window.
 * @param small Small model, over the same tokens.
 * @param options Query heads of a group, a divisor of the large model's, and the options of `matchHeads`.
 * @returns The match and both similarities per query head, as from `matchHeads`; the same for all heads of a group.
 * @throws {RequirementError} If array lengths do not fit the shapes, or the models saw different numbers of tokens.
 * @throws {RequirementError} If the groups do not divide the heads, or for the reasons of `matchHeads`.
 */
export function matchHeadGroups(
  large: HeadSaliency,
  small: HeadSaliency,
  options: MatchOptions & { readonly groupSize: number },
): HeadMatch {
  const { groupSize, ...choices } = options;
  checkHeadSaliency("match groups of heads", large);
  const { layers, queryHeads, tokens } = large;
  checkInteger("match groups of heads", "groupSize", { value: groupSize, min: 1, max: queryHeads });
  const rest = { value: queryHeads % groupSize, min: 0, max: 0 };
  checkInteger("match groups of heads", "query heads left over by groups", rest);
  const means = new Float32Array(large.accumulated.length / groupSize);
  large.accumulated.forEach((value, index) => {
    const group = Math.floor(index / (groupSize * tokens));
    means[group * tokens + index % tokens]! += value / groupSize;
  });
  const found = matchHeads(
    { ...large, queryHeads: queryHeads / groupSize, accumulated: means },
    small,
    choices,
  );
  const ofGroup = (_: unknown, head: number) => Math.floor(head / groupSize);
  const spread = <T>(values: ArrayLike<T>) =>
    Array.from({ length: layers * queryHeads }, ofGroup).map((group) => values[group]!);
  return {
    ...found,
    match: Uint32Array.from(spread(found.match)),
    similarity: Float64Array.from(spread(found.similarity)),
    cosine: Float64Array.from(spread(found.cosine)),
  };
}
