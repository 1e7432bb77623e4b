/**
 * Model families that can be loaded.
 *
 * Written by `deno task index`.
 *
 * @module
 */

import type { Architecture } from "../architecture.ts";
import { gemma2 } from "./gemma2.ts";
import { gemma3 } from "./gemma3.ts";
import { granite } from "./granite.ts";
import { llama } from "./llama.ts";
import { ministral3 } from "./ministral3.ts";
import { mistral } from "./mistral.ts";
import { olmo2 } from "./olmo2.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";

export * from "./gemma2.ts";
export * from "./gemma3.ts";
export * from "./granite.ts";
export * from "./llama.ts";
export * from "./ministral3.ts";
export * from "./mistral.ts";
export * from "./olmo2.ts";
export * from "./qwen2.ts";
export * from "./qwen3.ts";

/** All of them, in the order of their file names. */
export const ARCHITECTURES: readonly Architecture[] = [
  gemma2,
  gemma3,
  granite,
  llama,
  ministral3,
  mistral,
  olmo2,
  qwen2,
  qwen3,
];
