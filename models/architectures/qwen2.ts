/**
 * Qwen2 and Qwen2.5: biases on query, key and value projections.
 *
 * @see {@link https://arxiv.org/abs/2407.10671 | Qwen2}
 * @module
 */

import type { Architecture } from "../architecture.ts";

/** The Qwen2 family. */
export const qwen2: Architecture = {
  name: "qwen2",
  label: "Qwen2",
  modelTypes: ["qwen2"],
  ggufNames: ["qwen2"],
  isGgufInterleaved: false,
  biases: "qkv",
  hasQkNorm: false,
  slidingWindow: "flagged",
  defaults: { kvHeads: 32, contextLength: 32768, normEpsilon: 1e-6, ropeBase: 10000 },
};
