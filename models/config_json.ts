/**
 * Model sizes from the `config.json` of Hugging Face, as transformers 4 and 5 write it.
 *
 * @module
 */

import type { Architecture, ArchitectureDefaults } from "./architecture.ts";
import {
  checkSizes,
  type ConfigFields,
  countField,
  fieldError,
  findArchitecture,
  flagField,
  MAX_HEADS,
  MAX_LAYERS,
  type ModelConfig,
  positiveField,
  type RopeScaling,
  tokenIdsField,
} from "./config.ts";
import { isObject } from "./files/ranged_file.ts";

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
  checkForward(config);
  const hidden = countField(config, "hidden_size");
  const queryHeads = countField(config, "num_attention_heads", { max: MAX_HEADS });
  const layers = countField(config, "num_hidden_layers", { max: MAX_LAYERS });
  const hasKvHeads = config.values.num_key_value_heads !== null;
  const fields = generation === undefined ? [config] : [generation, config];
  return checkSizes({
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
    vocabulary: countField(config, "vocab_size"),
    contextLength: contextLength(config, architecture, layers),
    normEpsilon: positiveField(config, "rms_norm_eps", defaults.normEpsilon),
    ...ropeFields(config, defaults),
    ...biases(config, architecture),
    hasQkNorm: architecture.hasQkNorm,
    isTied: flagField(config, "tie_word_embeddings"),
    ...specialTokens(fields, defaults),
  }, config.location);
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

/** Refuses settings that would change the result but are not supported. */
function checkForward(config: ConfigFields): void {
  const { hidden_act: activation, quantization_config: quantization } = config.values;
  if ((activation ?? "silu") !== "silu") {
    throw fieldError(config, `hidden_act must be "silu"`, activation);
  }
  if ((quantization ?? null) !== null) {
    const requirement = "the weights must be F32, F16 or BF16, without quantization_config";
    throw fieldError(
      config,
      requirement,
      (quantization as { quant_method?: unknown }).quant_method,
    );
  }
}

function contextLength(config: ConfigFields, architecture: Architecture, layers: number): number {
  const context = countField(config, "max_position_embeddings", {
    missing: architecture.defaults.contextLength,
  });
  if (!hasWindow(config, architecture, layers)) return context;
  return Math.min(context, countField(config, "sliding_window", { missing: 4096 }));
}

function hasWindow(config: ConfigFields, { slidingWindow }: Architecture, layers: number): boolean {
  const { sliding_window: window, layer_types: types } = config.values;
  if (slidingWindow === "never" || window === null) return false;
  if (slidingWindow === "unlessNull") return true;
  if (!flagField(config, "use_sliding_window")) return false;
  if (Array.isArray(types)) return types.includes("sliding_attention");
  return countField(config, "max_window_layers", { missing: 28, min: 0 }) < layers;
}

/**
 * Base and scaling, as transformers 5 finds them: what `rope_scaling` (its version 4) says wins over `rope_parameters`
 * (5) unless it is empty, and values beside the two count where the chosen one has none.
 */
function ropeFields(
  config: ConfigFields,
  { ropeBase, contextLength }: ArchitectureDefaults,
): Pick<ModelConfig, "ropeBase" | "ropeScaling"> {
  const old = objectField(config, "rope_scaling");
  const current = objectField(config, "rope_parameters");
  const values = Object.keys(old).length > 0 ? old : current;
  if (Object.values(values).some(isObject)) {
    throw fieldError(config, "rope_parameters must be the same for all layers", "an object each");
  }
  const rope: ConfigFields = { location: config.location, values };
  const share = values.partial_rotary_factor ?? config.values.partial_rotary_factor ?? 1;
  if (share !== 1) throw fieldError(config, "partial_rotary_factor must be 1", share);
  const context = countField(config, "max_position_embeddings", { missing: contextLength });
  const scaling = ropeScaling(rope, () =>
    countField(config, "original_max_position_embeddings", {
      missing: countField(rope, "original_max_position_embeddings", { missing: context }),
    }));
  return {
    ropeBase: positiveField(rope, "rope_theta", positiveField(config, "rope_theta", ropeBase)),
    ...(scaling !== undefined && { ropeScaling: scaling }),
  };
}

function objectField(config: ConfigFields, name: string): Record<string, unknown> {
  const value = config.values[name] ?? {};
  if (isObject(value)) return value;
  throw fieldError(config, `${name} must be an object`, value);
}

function ropeScaling(
  rope: ConfigFields,
  originalContextLength: () => number,
): RopeScaling | undefined {
  const kind = rope.values.rope_type ?? rope.values.type ?? "default";
  if (kind === "default") return undefined;
  if (kind === "linear") return { kind, factor: positiveField(rope, "factor") };
  if (kind !== "llama3") {
    throw fieldError(rope, "rope_type must be default, linear or llama3", kind);
  }
  return {
    kind,
    factor: positiveField(rope, "factor"),
    lowFrequencyFactor: positiveField(rope, "low_freq_factor"),
    highFrequencyFactor: positiveField(rope, "high_freq_factor"),
    originalContextLength: originalContextLength(),
  };
}
