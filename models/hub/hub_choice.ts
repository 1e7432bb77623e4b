/**
 * Which files of a repository a model is made of.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import { firstParts } from "../files/split_names.ts";

/** Weights in one file. */
export const SINGLE_FILE = "model.safetensors";
/** List of weights in several files. */
export const SHARD_INDEX = "model.safetensors.index.json";
/** Sizes of the model. */
export const CONFIG_FILE = "config.json";
/** Files used along with safetensors; all but the first may be missing. */
export const TEXT_FILES: readonly string[] = [
  CONFIG_FILE,
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.jinja",
];

/**
 * Chooses the only GGUF file of a repository without safetensors.
 *
 * @param repository `ORG/NAME`, for messages.
 * @param files Paths of all its files; undefined where the hub does not list them.
 * @returns Path of the file, or of its first part.
 * @throws {DataError} If there is none, or more than one.
 */
export function onlyGgufOf(repository: string, files: readonly string[] | undefined): string {
  const choices = firstParts((files ?? []).filter((path) => /\.gguf$/i.test(path)));
  if (choices.length === 1) return choices[0]!;
  const requirement = choices.length === 0
    ? `the repository must hold ${SINGLE_FILE}, ${SHARD_INDEX} or a .gguf file`
    : `one of its .gguf files must be named, as hf:${repository}/${choices[0]}`;
  const shown = choices.length === 0 ? files?.slice(0, 20) : choices;
  throw new DataError(
    `Cannot download ${repository}: ${requirement}: current files are ${
      shown?.join(", ") || "unknown"
    }`,
  );
}
