/**
 * Opens a model from a file, a folder, an address or the Hugging Face hub: weights, sizes, tokenizer and template.
 *
 * @module
 */

import { DataError, LabError } from "../core/check.ts";
import { type ModelConfig, withKnownTokens } from "./config.ts";
import type { ConfigFields } from "./config_fields.ts";
import { architectureOfJson, configFromJson } from "./config_json.ts";
import { locateModel, type ModelLocation } from "./files/model_location.ts";
import { modelHash, parseObject, readTextIfThere } from "./files/ranged_file.ts";
import { openGguf } from "./gguf/gguf.ts";
import { architectureOfGguf, configFromGguf } from "./gguf/gguf_config.ts";
import { type DownloadOptions, isHubReference } from "./hub/hub_settings.ts";
import { languageFields } from "./nested_config.ts";
import { canonicalTensors, EMBEDDING, HEAD } from "./safetensors/canonical_names.ts";
import { withFloat8 } from "./safetensors/float8.ts";
import { openSafetensors } from "./safetensors/safetensors.ts";
import { quantizationFromJson } from "./quantization_json.ts";
import { chatTemplateOf } from "./tokenizer/chat_template.ts";
import { type TokenizerFiles, tokenizerFromGguf } from "./tokenizer/tokenizer_gguf.ts";
import { withSplitHeads } from "./weights/heads.ts";
import { selectWeights } from "./weights/tensor_check.ts";
import type { TensorFile } from "./weights/tensor_file.ts";
import { rowsOf, type TensorSource } from "./weights/tensor_source.ts";

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
   * The tokenizer, built on each access; undefined if the model has none.
   *
   * @throws {DataError} If its kind is not supported.
   */
  readonly tokenizer: TokenizerFiles | undefined;
  /** Jinja template of a conversation. */
  readonly chatTemplate?: string;
  /** Identity of the weights: SHA-256, hexadecimal, of headers, sizes, samples and configuration. */
  readonly hash: string;
  /** Files with weights. */
  readonly files: readonly ModelFile[];
}

/** How to open a model. */
export interface OpenOptions extends DownloadOptions {
  /** Called for every oddity of the files that does not keep the model from running. */
  readonly onWarning?: (warning: string) => void;
}

const MAX_CONFIG_BYTES = 2 ** 20;

/**
 * Opens a model and checks that its weights match its configuration.
 *
 * @param reference `.gguf` or `.safetensors` file, folder, `http:` or `https:` address of one of these, or
 *   `hf:ORG/NAME[@REVISION][/FILE.gguf]`. Any part of a split GGUF file stands for all of them.
 * @returns The open model; close it by disposing it.
 * @throws {DataError} If files are missing, damaged or of an unknown family.
 * @throws {RequirementError} If a weight has another shape than the configuration says.
 *
 * @example
 * ```ts ignore
 * await using files = await openModelFiles("hf:Qwen/Qwen2.5-0.5B-Instruct");
 * ```
 */
export async function openModelFiles(
  reference: string,
  options: OpenOptions = {},
): Promise<ModelFiles> {
  if (reference === "") {
    throw new DataError(
      'Cannot open a model: its reference must not be empty: current value is ""',
    );
  }
  if (!isHubReference(reference)) return await openLocated(reference, undefined, options);
  // The hub's cache needs a file system, which a browser lacks: its modules load where they are used.
  const hub = await (await import("./hub/hub.ts")).fetchModel(reference, options);
  try {
    return await openLocated(hub.path, hub.name, options);
  } catch (error) {
    if (hub.askAgain === undefined || !(error instanceof LabError)) throw error;
    // What the cache holds may be damaged, or come from a server that lied.
    const { path, name } = await hub.askAgain().catch(() => Promise.reject(error));
    return await openLocated(path, name, options);
  }
}

async function openLocated(
  place: string,
  hubName: string | undefined,
  options: OpenOptions,
): Promise<ModelFiles> {
  const location = await locateModel(place);
  const open = location.format === "gguf" ? openGgufModel : openSafetensorsModel;
  const name = hubName ?? location.name;
  const onWarning = (warning: string) => options.onWarning?.(`${name}: ${warning}`);
  return await open({ ...location, name }, onWarning);
}

async function openGgufModel(
  location: ModelLocation,
  onWarning: (warning: string) => void,
): Promise<ModelFiles> {
  await using opened = new AsyncDisposableStack();
  const file = opened.use(await openGguf(location.weights));
  const { metadata } = file;
  const architecture = architectureOfGguf(file);
  const config = withKnownTokens(await configFromGguf(file), onWarning);
  const weights = selectWeights(architecture.label, { config, source: file });
  const source = architecture.isGgufInterleaved ? withSplitHeads(weights, config.headDim) : weights;
  const template = metadata["tokenizer.chat_template"];
  const model: ModelFiles = {
    name: location.name,
    config,
    source,
    /** Takes longer than all else, which work on token ids need not wait for, and memory, so that none is kept. */
    get tokenizer() {
      if (metadata["tokenizer.ggml.tokens"] === undefined) return undefined;
      return tokenizerFromGguf(metadata);
    },
    ...(typeof template === "string" && { chatTemplate: template }),
    hash: await modelHash(file.files),
    files: file.files.map(modelFile),
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  };
  opened.move();
  return model;
}

async function openSafetensorsModel(
  location: ModelLocation,
  onWarning: (warning: string) => void,
): Promise<ModelFiles> {
  const { folder, name } = location;
  const text = await readTextIfThere(`${folder}config.json`, MAX_CONFIG_BYTES);
  if (text === undefined) {
    throw new DataError(`Cannot open a model: ${folder}config.json must exist next to its weights`);
  }
  const json = languageFields(fieldsOf(`${folder}config.json`, text));
  const generation = await readJson(`${folder}generation_config.json`, MAX_CONFIG_BYTES);
  const announced = withKnownTokens(configFromJson(json, generation), onWarning);
  const scales = quantizationFromJson(json);
  const texts = await readTexts(folder);
  await using opened = new AsyncDisposableStack();
  const files = opened.use(await openSafetensors(location.weights));
  const stored = canonicalTensors(withFloat8(files, scales), announced.isTied);
  const config = await withTying(announced, stored);
  const source = selectWeights(architectureOfJson(json).label, { config, source: stored });
  const model: ModelFiles = {
    name,
    config,
    source,
    ...texts,
    hash: await modelHash(files.files, [text]),
    files: files.files.map(modelFile),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
  opened.move();
  return model;
}

function modelFile({ file: { location, byteLength } }: TensorFile): ModelFile {
  return { location, byteLength };
}

function fieldsOf(location: string, text: string): ConfigFields {
  return { location, values: parseObject(text, location) };
}

async function readJson(location: string, maxBytes?: number): Promise<ConfigFields | undefined> {
  const text = await readTextIfThere(location, maxBytes);
  return text === undefined ? undefined : fieldsOf(location, text);
}

async function readTexts(folder: string): Promise<Pick<ModelFiles, "tokenizer" | "chatTemplate">> {
  const json = await readJson(`${folder}tokenizer.json`);
  const config = (await readJson(`${folder}tokenizer_config.json`))?.values ?? {};
  const template = await readTextIfThere(`${folder}chat_template.jinja`) ??
    chatTemplateOf(config);
  return {
    tokenizer: json && { json: json.values, config },
    ...(template !== undefined && { chatTemplate: template }),
  };
}

/** A file that announces tying but holds two different matrices is loaded as untied, as transformers 5 does. */
async function withTying(config: ModelConfig, source: TensorSource): Promise<ModelConfig> {
  const head = source.tensors.get(HEAD);
  if (!config.isTied || head === undefined || head.byteLength === 0) return config;
  const embedding = source.tensors.get(EMBEDDING);
  if (embedding?.type !== head.type || String(embedding.shape) !== String(head.shape)) {
    return { ...config, isTied: false };
  }
  const rows = rowsOf(head);
  const step = Math.max(1, Math.floor(2 ** 22 * rows / head.byteLength));
  for (let first = 0; first < rows; first += step) {
    const count = Math.min(step, rows - first);
    const one = await source.readRows(HEAD, first, count);
    const other = await source.readRows(EMBEDDING, first, count);
    if (one.some((byte, at) => byte !== other[at])) return { ...config, isTied: false };
  }
  return config;
}
