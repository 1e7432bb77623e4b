/**
 * A pseudorandom number per token, head and seed: the control that every ranking must beat.
 *
 * @module
 */

import type { Score } from "./score.ts";

/**
 * Ranks at random. A token's number never changes, so that kept tokens stay kept.
 *
 * @param seed Any integer.
 * @returns The score, in [0, 1).
 */
export function random(seed: number): Score<number> {
  return {
    ...{ name: "random", reads: "nothing", seed },
    start: ({ head }) => mixed(mixed(seed) + head),
    add() {},
    saliency: (head, { tokens }) =>
      Float32Array.from({ length: tokens }, (_, token) => mixed(head + token) / 2 ** 32),
  };
}

/** Spreads the bits of an integer over 32, one to one. */
function mixed(value: number): number {
  let bits = value >>> 0;
  bits = Math.imul(bits ^ bits >>> 16, 0x21f0aaad);
  bits = Math.imul(bits ^ bits >>> 15, 0x735a2d97);
  return (bits ^ bits >>> 15) >>> 0;
}
