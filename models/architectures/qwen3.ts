/**
 * Qwen3: every query and key head is normalized before its rotation.
 *
 * @see {@link https://arxiv.org/abs/2505.09388 | Qwen3}
 * @module
 */

import type { Architecture } from "../architecture.ts";

/** The Qwen3 family, without mixtures of experts. */
export const qwen3: Architecture = {
  name: "qwen3",
  label: "Qwen3",
  modelTypes: ["qwen3"],
  ggufNames: ["qwen3"],
  isGgufInterleaved: false,
  biases: "announced",
  hasQkNorm: true,
  slidingWindow: "flagged",
  defaults: { headDim: 128, kvHeads: 32, contextLength: 32768, normEpsilon: 1e-6, ropeBase: 10000 },
};
