/**
 * Model families that can be loaded.
 *
 * Written by `deno task index`.
 *
 * @module
 */

import type { Architecture } from "../architecture.ts";
import { llama } from "./llama.ts";
import { mistral } from "./mistral.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";

export * from "./llama.ts";
export * from "./mistral.ts";
export * from "./qwen2.ts";
export * from "./qwen3.ts";

/** All of them, in the order of their file names. */
export const ARCHITECTURES: readonly Architecture[] = [llama, mistral, qwen2, qwen3];
