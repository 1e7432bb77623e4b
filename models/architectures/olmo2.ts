/**
 * OLMo 2: norms on what attention and MLP add, and on all query heads and all key heads of a token together.
 *
 * @see {@link https://arxiv.org/abs/2501.00656 | 2 OLMo 2 Furious}
 * @module
 */

import type { Architecture } from "../architecture.ts";

/** The OLMo 2 family. */
export const olmo2: Architecture = {
  name: "olmo2",
  label: "OLMo 2",
  modelTypes: ["olmo2"],
  ggufNames: ["olmo2"],
  isGgufInterleaved: false,
  biases: "announced",
  hasQkNorm: true,
  isQkNormJoint: true,
  blockNorms: "after",
  slidingWindow: "never",
  defaults: {
    contextLength: 2048,
    normEpsilon: 1e-5,
    ropeBase: 10000,
    eosTokenId: 50279,
  },
};
