/**
 * Ranks, which tint texts where a few tokens receive almost everything.
 *
 * @module
 */

/**
 * Ranks of numbers as shares.
 *
 * @returns 0 for the smallest and 1 for the largest; equal ones in their order.
 */
export function rankShares(values: Float32Array): Float32Array {
  const order = [...values.keys()].sort((a, b) => values[a]! - values[b]!);
  const shares = new Float32Array(values.length);
  order.forEach((place, rank) => shares[place] = rank / Math.max(1, values.length - 1));
  return shares;
}
