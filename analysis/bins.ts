/**
 * Concentration of attention: how much of it the most salient tokens receive (Fig. 2).
 *
 * @module
 */

import { checkInteger, RequirementError } from "../core/check.ts";
import { shareOfTokens } from "./similarity.ts";

/** The ratio of two bins, averaged over contexts in two ways. */
export interface BinRatio {
  /** Sum of the upper bin over all contexts, divided by that of the lower bin. */
  readonly ofSums: number;
  /** Mean over contexts of the ratio in each. */
  readonly meanOfRatios: number;
}

/**
 * Sums saliency in bins with equal numbers of tokens, most salient first.
 *
 * @param saliency Saliency of each token.
 * @param bins Number of bins; 20, so 5 % of the tokens each, if left out.
 * @returns One sum per bin, in descending order of saliency; bin b starts at rank floor(b n / bins).
 * @throws {RequirementError} If there are fewer tokens than bins or an entry is not finite.
 */
export function saliencyBins(saliency: ArrayLike<number>, bins: number = 20): Float64Array {
  checkInteger("sum saliency in bins", "bins", { value: bins, min: 1 });
  checkInteger("sum saliency in bins", "tokens", { value: saliency.length, min: bins });
  const sorted = descending(saliency);
  const sums = new Float64Array(bins);
  for (let bin = 0; bin < bins; bin++) {
    const end = Math.floor((bin + 1) * sorted.length / bins);
    for (let rank = Math.floor(bin * sorted.length / bins); rank < end; rank++) {
      sums[bin]! += sorted[rank]!;
    }
  }
  return sums;
}

/**
 * Compares two bins over many contexts.
 *
 * @param contexts Bins of each context, from {@link saliencyBins}.
 * @param bins Index of the bin above the line and of the one below it.
 * @returns Both averages of the ratio.
 * @throws {RequirementError} If there are no contexts.
 */
export function binRatio(
  contexts: readonly ArrayLike<number>[],
  bins: { readonly above: number; readonly below: number },
): BinRatio {
  checkInteger("compare bins", "contexts.length", { value: contexts.length, min: 1 });
  let [above, below, ratios] = [0, 0, 0];
  for (const context of contexts) {
    for (const value of [bins.above, bins.below]) {
      checkInteger("compare bins", "bin", { value, min: 0, max: context.length - 1 });
    }
    above += context[bins.above]!;
    below += context[bins.below]!;
    ratios += context[bins.above]! / context[bins.below]!;
  }
  return { ofSums: above / below, meanOfRatios: ratios / contexts.length };
}

/**
 * Computes the share of all saliency that the most salient tokens hold (C60).
 *
 * @param saliency Saliency of each token, not all zero.
 * @param ratio Share of the tokens, in [0, 1]; at least one token counts.
 * @returns A number in [0, 1].
 */
export function topSaliencyShare(saliency: ArrayLike<number>, ratio: number = 0.05): number {
  checkInteger("measure concentration", "tokens", { value: saliency.length, min: 1 });
  const sorted = descending(saliency);
  const count = Math.max(1, shareOfTokens(ratio, sorted.length));
  const sum = (values: Float64Array) => values.reduce((total, value) => total + value, 0);
  return sum(sorted.subarray(0, count)) / sum(sorted);
}

function descending(saliency: ArrayLike<number>): Float64Array {
  const sorted = Float64Array.from(saliency).sort().reverse();
  const bad = sorted.find((value) => !Number.isFinite(value));
  if (bad === undefined) return sorted;
  throw new RequirementError({
    action: "rank saliency",
    requirement: "entries must be finite",
    current: bad,
  });
}
