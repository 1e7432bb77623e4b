/**
 * All model families, from the listing of this folder.
 *
 * @module
 */

import type { Architecture } from "../architecture.ts";
import { llama } from "./llama.ts";
import { mistral } from "./mistral.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";

export { llama } from "./llama.ts";
export { mistral } from "./mistral.ts";
export { qwen2 } from "./qwen2.ts";
export { qwen3 } from "./qwen3.ts";

/** All model families, by file name. */
export const architectures: readonly Architecture[] = [llama, mistral, qwen2, qwen3];
