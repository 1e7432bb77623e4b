/**
 * Models as Hugging Face stores them: safetensors beside JSON files.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import { architectureOfJson, configFromJson } from "../config_json.ts";
import type { ConfigFields } from "../config_fields.ts";
import { modelHash } from "../files/file_hash.ts";
import type { OpenModel } from "../files/model_files.ts";
import type { ModelLocation } from "../files/model_location.ts";
import { readTextIfThere } from "../files/ranged_file.ts";
import { openSafetensors, type SafetensorsFiles } from "./safetensors.ts";
import type { TokenizerFiles } from "../tokenizer/tokenizer_gguf.ts";
import type { ModelConfig } from "../config.ts";

const MAX_CONFIG_BYTES = 2 ** 20;

/**
 * Opens a model whose weights lie in safetensors files.
 *
 * @param location Where they are.
 * @returns The open model, weights unchecked.
 * @throws {DataError} If a file is missing, damaged or of an unknown family.
 */
export async function openSafetensorsModel(location: ModelLocation): Promise<OpenModel> {
  const { folder } = location;
  const text = await readTextIfThere(`${folder}config.json`, MAX_CONFIG_BYTES);
  if (text === undefined) {
    throw new DataError(`Cannot open a model: ${folder}config.json must exist beside its weights`);
  }
  const json = parse(`${folder}config.json`, text);
  const generation = await readJson(`${folder}generation_config.json`, MAX_CONFIG_BYTES);
  const config = configFromJson(json, generation);
  const texts = await readTexts(folder);
  const files = await openSafetensors(location.weights);
  try {
    return {
      architecture: architectureOfJson(json),
      config: await withTying(config, files),
      source: files,
      ...texts,
      hash: await modelHash(files.shards, [text]),
      files: files.shards.map(({ file: { location, byteLength } }) => ({ location, byteLength })),
      [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
    };
  } catch (error) {
    await files[Symbol.asyncDispose]();
    throw error;
  }
}

function parse(location: string, text: string): ConfigFields {
  try {
    const values: unknown = JSON.parse(text);
    if (typeof values === "object" && values !== null && !Array.isArray(values)) {
      return { location, values: values as Record<string, unknown> };
    }
  } catch (cause) {
    throw new DataError(`Cannot read ${location}: it must be JSON: ${cause}`, { cause });
  }
  throw new DataError(`Cannot read ${location}: it must be a JSON object`);
}

async function readJson(location: string, maxBytes?: number): Promise<ConfigFields | undefined> {
  const text = await readTextIfThere(location, maxBytes);
  return text === undefined ? undefined : parse(location, text);
}

async function readTexts(folder: string): Promise<Pick<OpenModel, "tokenizer" | "chatTemplate">> {
  const json = await readJson(`${folder}tokenizer.json`);
  const config = (await readJson(`${folder}tokenizer_config.json`))?.values ?? {};
  const template = await readTextIfThere(`${folder}chat_template.jinja`) ??
    templateOf(config.chat_template);
  const tokenizer: TokenizerFiles | undefined = json && { json: json.values, config };
  return {
    ...(tokenizer !== undefined && { tokenizer }),
    ...(template !== undefined && { chatTemplate: template }),
  };
}

/** Older files name several templates; the one called default is for conversations. */
function templateOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  const found = value.find((entry) => entry?.name === "default")?.template;
  return typeof found === "string" ? found : undefined;
}

/** A file that announces tying but holds two different matrices is used as it is, as transformers 5 does. */
async function withTying(config: ModelConfig, files: SafetensorsFiles): Promise<ModelConfig> {
  const head = files.tensors.get("lm_head.weight");
  if (!config.isTied || head === undefined) return config;
  const rows = head.shape[0] ?? 1;
  const step = Math.max(1, Math.floor(2 ** 22 * rows / head.byteLength));
  const embedding = files.tensors.get("model.embed_tokens.weight");
  if (embedding?.type !== head.type || embedding.byteLength !== head.byteLength) {
    return { ...config, isTied: false };
  }
  for (let first = 0; first < rows; first += step) {
    const count = Math.min(step, rows - first);
    const one = await files.readRows("lm_head.weight", first, count);
    const other = await files.readRows("model.embed_tokens.weight", first, count);
    if (one.some((byte, at) => byte !== other[at])) return { ...config, isTied: false };
  }
  return config;
}
