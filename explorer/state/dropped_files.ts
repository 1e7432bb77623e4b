/**
 * Which models are among files that were dropped: GGUF files, whole or in parts, and folders with safetensors.
 *
 * @module
 */

import { partNames } from "../../models/files/split_names.ts";
import type { DroppedFile } from "../messages.ts";

/** Files of one model. */
type ModelFiles = readonly DroppedFile[];

/** Models among files, or why they cannot be opened. */
export type DroppedModels =
  | { readonly large: ModelFiles; readonly small?: ModelFiles }
  | { readonly fault: string };

/** What can be dropped. */
const WANTED = "drop GGUF files, or folders with safetensors and config.json, of one or two models";

/**
 * Sorts files by model; the larger of two models is the large one. Other files are passed over.
 *
 * @param files Files with their paths below what was dropped.
 */
export function modelsOf(files: readonly DroppedFile[]): DroppedModels {
  const groups = Map.groupBy(files, modelKey);
  const models = [...groups.values()].filter((group) => group.some(hasWeights))
    .sort((a, b) => bytesOf(b) - bytesOf(a));
  const [large, small] = models;
  if (!large || models.length > 2) {
    const what = files.length === 1 ? files[0]!.path : `${files.length} files`;
    return { fault: `Cannot open ${what}: ${WANTED}: current models are ${models.length}` };
  }
  return { large, ...(small && { small }) };
}

/** Parts of a split file belong together, and all else in a folder. */
function modelKey({ path }: DroppedFile): string {
  return /\.gguf$/i.test(path) ? partNames(path)[0]! : path.slice(0, path.lastIndexOf("/") + 1);
}

function hasWeights({ path }: DroppedFile): boolean {
  return /\.(gguf|safetensors)$/i.test(path);
}

function bytesOf(files: ModelFiles): number {
  return files.reduce((sum, { file }) => sum + file.size, 0);
}
