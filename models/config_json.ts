/**
 * Model sizes from the `config.json` of Hugging Face, as transformers 4 and 5 write it.
 *
 * @module
 */

import type { Architecture } from "./architecture.ts";
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
  const bos = tokenIdsField(config, "bos_token_id");
  const ends = [generation, config].flatMap((fields) =>
    fields === undefined ? [] : tokenIdsField(fields, "eos_token_id")
  );
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
    ...ropeFields(config, defaults.ropeBase),
    ...biases(config, architecture),
    hasQkNorm: architecture.hasQkNorm,
    isTied: flagField(config, "tie_word_embeddings"),
    ...(bos[0] !== undefined && { bosTokenId: bos[0] }),
    eosTokenIds: [...new Set(ends)],
  }, config.location);
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
  const { partial_rotary_factor: share } = config.values;
  if ((share ?? 1) !== 1) throw fieldError(config, "partial_rotary_factor must be 1", share);
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

/** Base and scaling, from `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (4). */
function ropeFields(
  config: ConfigFields,
  defaultBase: number,
): Pick<ModelConfig, "ropeBase" | "ropeScaling"> {
  const { rope_parameters: parameters, rope_scaling: old } = config.values;
  const values = parameters ?? old ?? {};
  if (typeof values !== "object" || Array.isArray(values)) {
    throw fieldError(config, "rope_parameters and rope_scaling must be objects", values);
  }
  const rope: ConfigFields = {
    location: config.location,
    values: values as Record<string, unknown>,
  };
  const outer = positiveField(config, "rope_theta", defaultBase);
  const scaling = ropeScaling(rope, config);
  return {
    ropeBase: positiveField(rope, "rope_theta", outer),
    ...(scaling !== undefined && { ropeScaling: scaling }),
  };
}

function ropeScaling(rope: ConfigFields, config: ConfigFields): RopeScaling | undefined {
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
    originalContextLength: countField(rope, "original_max_position_embeddings", {
      missing: config.values.original_max_position_embeddings as number | undefined,
    }),
  };
}
