/**
 * Llama 2, 3.x and models of the same form, such as SmolLM2.
 *
 * @see {@link https://arxiv.org/abs/2407.21783 | Llama 3}
 * @module
 */

import type { Architecture } from "../architecture.ts";

/** The Llama family; GGUF files of Mistral carry its name too. */
export const llama: Architecture = {
  name: "llama",
  label: "Llama",
  modelTypes: ["llama"],
  ggufNames: ["llama"],
  isGgufInterleaved: true,
  biases: "announced",
  hasQkNorm: false,
  slidingWindow: "never",
  defaults: {
    contextLength: 2048,
    normEpsilon: 1e-6,
    ropeBase: 10000,
    bosTokenId: 1,
    eosTokenId: 2,
  },
};
