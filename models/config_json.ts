/**
 * Model sizes from the `config.json` of Hugging Face, as transformers 4 and 5 write it.
 *
 * @module
 */

import type { Architecture, ArchitectureDefaults } from "./architecture.ts";
import { checkSizes, type ModelConfig } from "./config.ts";
import { findArchitecture, norms } from "./find_architecture.ts";
import {
  choiceField,
  type ConfigFields,
  countField,
  flagField,
  MAX_HEADS,
  MAX_LAYERS,
  positiveField,
  tokenIdsField,
} from "./config_fields.ts";
import { windowRules, windowsFromJson } from "./layer_windows.ts";
import { ropesFromJson, stretchedContext } from "./rope_json.ts";
import { type Activation, ACTIVATIONS } from "../kernels/gate_multiply.ts";

/** Finds the family that `config.json` names. */
export function architectureOfJson(config: ConfigFields): Architecture {
  return findArchitecture(config, "model_type", ({ modelTypes }) => modelTypes);
}

/**
 * Reads sizes and switches.
 *
 * @param generation Content of `generation_config.json`, whose end tokens come first.
 * @throws {DataError} If a field is missing or malformed, or asks for something that the forward pass does not support.
 */
export function configFromJson(config: ConfigFields, generation?: ConfigFields): ModelConfig {
  const architecture = architectureOfJson(config);
  const { defaults } = architecture;
  const hidden = countField(config, "hidden_size");
  const queryHeads = countField(config, "num_attention_heads", {
    max: MAX_HEADS,
    missing: defaults.queryHeads,
  });
  const layers = countField(config, "num_hidden_layers", { max: MAX_LAYERS });
  const hasKvHeads = config.values.num_key_value_heads !== null;
  const fields = generation === undefined ? [config] : [generation, config];
  const { full, windowed } = ropesFromJson(config, architecture);
  const contextLength = stretchedContext(
    full,
    countField(config, "max_position_embeddings", { missing: defaults.contextLength }),
  );
  const windows = windowsFromJson(config, architecture, layers);
  const common: ModelConfig = {
    architecture: architecture.name,
    layers,
    hidden,
    mlp: countField(config, "intermediate_size"),
    queryHeads,
    kvHeads: countField(config, "num_key_value_heads", {
      max: queryHeads,
      missing: (hasKvHeads ? defaults.kvHeads : undefined) ?? queryHeads,
    }),
    headDim: countField(config, "head_dim", {
      missing: defaults.headDim ?? Math.floor(hidden / queryHeads),
    }),
    vocabulary: countField(config, "vocab_size", { missing: defaults.vocabulary }),
    contextLength,
    normEpsilon: positiveField(config, "rms_norm_eps", defaults.normEpsilon),
    ...full,
    ...windowRules(windows && { ...windows, rope: windowed }, contextLength),
    ...biases(config, architecture),
    ...norms(architecture),
    ...(architecture.normOffset !== undefined && { normOffset: architecture.normOffset }),
    ...activation(config, architecture),
    isTied: (config.values.tie_word_embeddings ?? null) === null
      ? defaults.isTied ?? false
      : flagField(config, "tie_word_embeddings"),
    ...specialTokens(fields, defaults),
  };
  return checkSizes({ ...common, ...architecture.readJson?.(config, common) }, config.location);
}

/** Activation of the MLP, where it is not SiLU. */
function activation(
  config: ConfigFields,
  { defaults: { activation: missing = "silu" } }: Architecture,
): Pick<ModelConfig, "activation"> {
  // Families whose activation has changed keep the right one under the second name.
  const name = missing === "silu" ? "hidden_act" : "hidden_activation";
  const chosen: Activation = choiceField(config, name, { choices: ACTIVATIONS, missing });
  return chosen === "silu" ? {} : { activation: chosen };
}

/** Begin and end tokens; a family's own ones where no file mentions any, not even as null. */
function specialTokens(
  files: readonly ConfigFields[],
  defaults: ArchitectureDefaults,
): Pick<ModelConfig, "bosTokenId" | "eosTokenIds"> {
  const read = (name: string, missing?: number) => {
    const isSaid = files.some(({ values }) => values[name] !== undefined);
    if (!isSaid) return missing === undefined ? [] : [missing];
    return files.flatMap((fields) => tokenIdsField(fields, name));
  };
  const bos = read("bos_token_id", defaults.bosTokenId).at(-1);
  const ends = read("eos_token_id", defaults.eosTokenId);
  return { ...(bos !== undefined && { bosTokenId: bos }), eosTokenIds: [...new Set(ends)] };
}

function biases(
  config: ConfigFields,
  { biases }: Architecture,
): Pick<ModelConfig, "hasQkvBias" | "hasOutputBias" | "hasMlpBias"> {
  if (biases !== "announced") return { hasQkvBias: biases === "qkv" };
  const hasAttentionBias = flagField(config, "attention_bias");
  return {
    hasQkvBias: hasAttentionBias,
    ...(hasAttentionBias && { hasOutputBias: true }),
    ...(flagField(config, "mlp_bias") && { hasMlpBias: true }),
  };
}
