/**
 * Configurations of models that read more than text: their language model has an object of its own.
 *
 * @module
 */

import { type ConfigFields, fieldError } from "./config_fields.ts";
import { isObject } from "./files/ranged_file.ts";

/** `model_type` that a language model may have, the usual one first, by that of the whole; other inputs are left out. */
const LANGUAGE_MODELS: Readonly<Record<string, readonly [usual: string, ...others: string[]]>> = {
  gemma3: ["gemma3_text"],
  mistral3: ["mistral", "ministral3"],
};

/** Fields of the whole that also hold for the language model. */
const SHARED = ["tie_word_embeddings", "bos_token_id", "eos_token_id", "quantization_config"];

/**
 * Fields of the language model in a configuration.
 *
 * @param config Content of `config.json`.
 * @returns Those of `text_config`, with those of the whole that concern it; all of them where a model reads text alone.
 * @throws {DataError} If the language model is missing or of another family.
 */
export function languageFields(config: ConfigFields): ConfigFields {
  const { location, values } = config;
  const types = LANGUAGE_MODELS[String(values.model_type)];
  if (types === undefined) return config;
  const own = values.text_config ?? {};
  if (!isObject(own)) throw fieldError(config, "text_config must be an object", own);
  const type = types.find((one) => one === (own.model_type ?? types[0]));
  if (type === undefined) {
    const requirement = `text_config.model_type must be ${types.join(" or ")}`;
    throw fieldError(config, requirement, own.model_type);
  }
  const shared = SHARED.filter((name) => values[name] !== undefined);
  const said = Object.fromEntries(shared.map((name) => [name, values[name]]));
  return { location, values: { ...own, model_type: type, ...said } };
}
