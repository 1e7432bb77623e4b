/**
 * Opens a model from a file, a folder, an address or the Hugging Face hub.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import type { Architecture } from "../architecture.ts";
import type { ModelConfig } from "../config.ts";
import { openGgufModel } from "../gguf/gguf_model.ts";
import { isHubReference } from "../hub/hub_reference.ts";
import type { DownloadOptions } from "../hub/hub_settings.ts";
import { locateModel } from "./model_location.ts";
import { openSafetensorsModel } from "../safetensors/safetensors_model.ts";
import { checkWeights } from "../weights/tensor_check.ts";
import type { TensorSource } from "../weights/tensor_source.ts";
import type { TokenizerFiles } from "../tokenizer/tokenizer_gguf.ts";

/** A file of a model. */
export interface ModelFile {
  /** Path or address. */
  readonly location: string;
  /** Size of the file. */
  readonly byteLength: number;
}

/** An open model: weights, sizes and texts, before any of it is on a device. */
export interface ModelFiles extends AsyncDisposable {
  /** Short name: file stem, folder name, or `ORG/NAME`. */
  readonly name: string;
  /** The weights. */
  readonly source: TensorSource;
  /** Sizes and switches. */
  readonly config: ModelConfig;
  /**
   * The tokenizer, read or built when first asked for; absent where the model has none.
   *
   * @throws {DataError} If it is of a kind that is not covered.
   */
  readonly tokenizer?: TokenizerFiles;
  /** Jinja template of a conversation. */
  readonly chatTemplate?: string;
  /** Identity of the weights: SHA-256, hexadecimal, of headers, sizes, samples and configuration. */
  readonly hash: string;
  /** Files with weights. */
  readonly files: readonly ModelFile[];
}

/** What a format makes of a place, before the weights were checked. */
export interface OpenModel extends Omit<ModelFiles, "name"> {
  /** Family of the model. */
  readonly architecture: Architecture;
}

/**
 * Opens a model and checks that its weights are those that its configuration announces.
 *
 * @param reference `.gguf` or `.safetensors` file, folder, `http:` or `https:` address of one of these, or `hf:ORG/NAME[@REVISION][/FILE.gguf]`.
 * @param options How to download, for `hf:`.
 * @returns The open model; close it by disposing it.
 * @throws {DataError} If files are missing, damaged or of an unknown family.
 * @throws {TypeError} If a weight has another shape than the configuration says.
 *
 * @example
 * ```ts ignore
 * await using files = await openModelFiles("hf:Qwen/Qwen2.5-0.5B-Instruct");
 * ```
 */
export async function openModelFiles(
  reference: string,
  options: DownloadOptions = {},
): Promise<ModelFiles> {
  if (reference === "") throw new DataError("Cannot open a model: its reference must not be empty");
  // The hub's cache needs a file system, which a browser lacks: its modules load where they are used.
  const hub = isHubReference(reference)
    ? await (await import("../hub/hub.ts")).fetchModel(reference, options)
    : undefined;
  const location = await locateModel(hub?.path ?? reference);
  const model = location.format === "gguf"
    ? await openGgufModel(location)
    : await openSafetensorsModel(location);
  try {
    checkWeights(model.architecture.label, model);
  } catch (error) {
    await model[Symbol.asyncDispose]();
    throw error;
  }
  return Object.defineProperty(model, "name", {
    value: hub?.name ?? location.name,
    enumerable: true,
  }) as
    & OpenModel
    & ModelFiles;
}
