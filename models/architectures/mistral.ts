/**
 * Mistral 7B and its successors: Llama's form, in the first version with a sliding window.
 *
 * @see {@link https://arxiv.org/abs/2310.06825 | Mistral 7B}
 * @module
 */

import type { Architecture } from "../architecture.ts";

/** The Mistral family; its GGUF files are `llama` files. */
export const mistral: Architecture = {
  name: "mistral",
  label: "Mistral",
  modelTypes: ["mistral"],
  ggufNames: [],
  isGgufInterleaved: true,
  biases: "none",
  hasQkNorm: false,
  slidingWindow: "unlessNull",
  defaults: {
    kvHeads: 8,
    contextLength: 131072,
    normEpsilon: 1e-6,
    ropeBase: 10000,
    bosTokenId: 1,
    eosTokenId: 2,
  },
};
