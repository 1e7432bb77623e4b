/**
 * Accumulated attention as a mean over the rows that could see each token (D-1).
 *
 * @module
 */

/** What accumulated attention is divided by (D-1): nothing, as in the paper, or the rows that could see the token. */
export const NORMALISATIONS = ["none", "rows"] as const;
/** One of `NORMALISATIONS`. */
export type Normalisation = typeof NORMALISATIONS[number];

/**
 * Divides sums of causal attention by the rows that could see each token. Raw sums favor early tokens, which more rows
 * see, over those at the end of a prompt.
 *
 * @param sums Attention that each token received, [tokens]; the newest row belongs to the last token.
 * @param firstRow First row that is in the sums; 0 if left out.
 * @returns Means, [tokens].
 */
export function perRow(sums: ArrayLike<number>, firstRow = 0): Float32Array<ArrayBuffer> {
  return Float32Array.from(sums, (sum, token) => sum / (sums.length - Math.max(token, firstRow)));
}

/**
 * Divides the sums of every head by the rows that could see each token.
 *
 * @param saliency The heads; their last row belongs to the last token.
 * @returns The heads with means in place of sums.
 */
export function meanSaliency<
  Heads extends { tokens: number; accumulated: Float32Array; firstRow?: number },
>(saliency: Heads): Heads {
  const { tokens, firstRow = 0 } = saliency;
  const accumulated = saliency.accumulated.map((sum, index) =>
    sum / (tokens - Math.max(index % tokens, firstRow))
  );
  return { ...saliency, accumulated };
}
