/**
 * KVzip: how much a token is attended to where the model writes its context once more.
 *
 * @see {@link https://arxiv.org/abs/2505.23416 | KVzip}
 * @module
 */

import type { Score } from "./score.ts";

/**
 * Ranks tokens of the prompt by the most attention that any row of its repetition, in any of the heads, pays to them; later
 * tokens change nothing.
 *
 * @returns The score, 0 to 1.
 */
export function reconstruction(): Score<Float32Array> {
  return {
    ...{ name: "reconstruction", reads: "repetition", isPromptOnly: true },
    start({ room, repeated }) {
      room.set(repeated!);
      return room;
    },
    add() {},
    saliency: (scores) => scores,
  };
}
