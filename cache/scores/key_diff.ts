/**
 * KeyDiff: tokens whose key points away from the mean key, so that those kept differ from each other.
 *
 * @see {@link https://arxiv.org/abs/2504.15364 | KeyDiff}
 * @module
 */

import type { Score } from "./score.ts";

/**
 * Ranks by the cosine between a key and the mean of the held keys, each divided by its norm, the least similar first.
 *
 * @returns The score, the negative cosine.
 */
export function keyDiff(): Score<Float64Array[]> {
  return {
    name: "key_diff",
    reads: "keys",
    start: () => [],
    add(groups, { token, key }) {
      const norm = Math.hypot(...key!) || 1;
      groups[token] = Float64Array.from(key!, (value) => value / norm);
    },
    saliency(groups, { tokens, held }) {
      const scores = new Float32Array(tokens);
      const mean = new Float64Array(groups[0]?.length ?? 0);
      const ranked = [...held ?? groups.keys()].filter((token) => groups[token]);
      for (const token of ranked) groups[token]!.forEach((value, index) => mean[index]! += value);
      const norm = Math.hypot(...mean) || 1;
      for (const token of ranked) {
        const product = groups[token]!.reduce((sum, value, index) => sum + value * mean[index]!, 0);
        scores[token] = -product / norm;
      }
      return scores;
    },
  };
}
