/**
 * Models in one GGUF file: weights, sizes, tokenizer and chat template.
 *
 * @module
 */

import { modelHash } from "../files/file_hash.ts";
import { type GgufFile, openGguf } from "./gguf.ts";
import { architectureOfGguf, configFromGguf } from "./gguf_config.ts";
import { withSplitHeads } from "../weights/head_order.ts";
import type { OpenModel } from "../files/model_files.ts";
import type { ModelLocation } from "../files/model_location.ts";
import { type TokenizerFiles, tokenizerFromGguf } from "../tokenizer/tokenizer_gguf.ts";

/**
 * Opens a model whose weights lie in a GGUF file.
 *
 * @param location Where the file is.
 * @returns The open model, weights unchecked.
 * @throws {DataError} If the file is missing, damaged or of an unknown family.
 */
export async function openGgufModel(location: ModelLocation): Promise<OpenModel> {
  const file = await openGguf(location.weights);
  try {
    return await describe(file);
  } catch (error) {
    await file[Symbol.asyncDispose]();
    throw error;
  }
}

async function describe(file: GgufFile): Promise<OpenModel> {
  const architecture = architectureOfGguf(file);
  const config = await configFromGguf(file);
  const template = file.metadata["tokenizer.chat_template"];
  const model: OpenModel = {
    architecture,
    config,
    source: architecture.isGgufInterleaved ? withSplitHeads(file, config) : file,
    ...(typeof template === "string" && { chatTemplate: template }),
    hash: await modelHash([file]),
    files: [{ location: file.file.location, byteLength: file.file.byteLength }],
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  };
  return file.metadata["tokenizer.ggml.tokens"] === undefined ? model : withTokenizer(model, file);
}

/** Building a tokenizer takes longer than all else, and work on token ids needs none. */
function withTokenizer(model: OpenModel, file: GgufFile): OpenModel {
  let built: TokenizerFiles | undefined;
  return Object.defineProperty(model, "tokenizer", {
    get: () => built ??= tokenizerFromGguf(file.metadata),
    enumerable: true,
  });
}
