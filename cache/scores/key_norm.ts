/**
 * Low norm of keys: tokens whose key is short tend to receive much attention.
 *
 * @see {@link https://arxiv.org/abs/2406.11430 | A Simple and Effective L2 Norm-Based Strategy for KV Cache Compression}
 * @module
 */

import type { Score } from "./score.ts";

/**
 * Ranks by the Euclidean norm of keys, the shortest first.
 *
 * @returns The score, the negative norm.
 */
export function keyNorm(): Score<Float32Array> {
  return {
    name: "key_norm",
    reads: "keys",
    start: ({ room }) => room,
    add(scores, { token, key }) {
      scores[token] = -Math.hypot(...key!);
    },
    saliency: (scores) => scores,
  };
}
