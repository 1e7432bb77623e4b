/**
 * How quantized weights of safetensors files are scaled, from the `quantization_config` of `config.json`.
 *
 * @module
 */

import { type ConfigFields, fieldError } from "./config_fields.ts";
import { isObject } from "./files/ranged_file.ts";
import type { Float8Scales } from "./safetensors/float8.ts";

type Reader = (fields: ConfigFields) => Float8Scales;

/** Readers by `quant_method`. */
const METHODS: Readonly<Record<string, Reader>> = {
  "compressed-tensors": compressedTensors,
  fp8: blockFloats,
  modelopt: modelOpt,
};

/**
 * Reads how weights are scaled.
 *
 * @param config Content of `config.json`.
 * @returns Where the scales are; undefined if the weights are not quantized.
 * @throws {DataError} If the weights are quantized in a way that is not known, which the error names.
 */
export function quantizationFromJson(config: ConfigFields): Float8Scales | undefined {
  const quantization = config.values.quantization_config ?? null;
  if (quantization === null) return undefined;
  if (!isObject(quantization)) {
    throw fieldError(config, "quantization_config must be an object", quantization);
  }
  const method = quantization.quant_method;
  const reader = typeof method === "string" && Object.hasOwn(METHODS, method) && METHODS[method];
  if (reader) return reader({ location: config.location, values: quantization });
  const known = Object.keys(METHODS).join(", ");
  throw fieldError(config, `quant_method of quantization_config must be one of ${known}`, method);
}

/** DeepSeek's and Qwen's: a scale for each block of a matrix, or one for all of it. */
function blockFloats(fields: ConfigFields): Float8Scales {
  requireValue(fields, "fmt", ["e4m3", undefined]);
  return { ending: "weight_scale_inv", ...blockField(fields, "weight_block_size") };
}

/** NVIDIA's Model Optimizer: a scale for each matrix. */
function modelOpt(fields: ConfigFields): Float8Scales {
  requireValue(fields, "quant_algo", ["FP8"]);
  return { ending: "weight_scale" };
}

/** LLM Compressor's: a scale for each matrix, row or block. */
function compressedTensors(fields: ConfigFields): Float8Scales {
  requireValue(fields, "format", ["float-quantized"]);
  const { sparsity_config: sparsity, config_groups: groups } = fields.values;
  if (isObject(sparsity)) {
    requireValue(
      { ...fields, values: sparsity },
      "format",
      ["dense", undefined],
      "sparsity_config",
    );
  }
  if (!isObject(groups) || Object.keys(groups).length === 0) {
    throw fieldError(fields, "config_groups of quantization_config must be an object", groups);
  }
  const blocks = Object.entries(groups).map(([name, group]) => groupBlock(fields, name, group));
  if (new Set(blocks.map(String)).size === 1) {
    return { ending: "weight_scale", ...(blocks[0] && { block: blocks[0] }) };
  }
  const shown = blocks.map((block) => block?.join(" x ") ?? "none").join(", ");
  throw fieldError(fields, "all config_groups must have blocks of one size", shown);
}

/** Block of a group of layers, after checking that their weights are floats of 8 bits. */
function groupBlock(
  { location }: ConfigFields,
  name: string,
  group: unknown,
): readonly [number, number] | undefined {
  const weights = isObject(group) ? group.weights : undefined;
  if (!isObject(weights)) {
    throw fieldError({ location }, `weights of ${name} must be an object`, weights);
  }
  const fields = { location, values: weights };
  requireValue(fields, "type", ["float"], name);
  requireValue(fields, "num_bits", [8], name);
  requireValue(fields, "strategy", ["tensor", "channel", "block"], name);
  return weights.strategy === "block" ? blockField(fields, "block_structure").block : undefined;
}

function requireValue(
  fields: ConfigFields,
  name: string,
  allowed: readonly unknown[],
  owner = "quantization_config",
): void {
  const value = fields.values[name] ?? undefined;
  if (allowed.includes(value)) return;
  const known = allowed.filter((one) => one !== undefined).join(", ");
  throw fieldError(fields, `${name} of ${owner} must be one of ${known}`, value ?? "missing");
}

/** Reads rows and columns of a block; nothing if there are none. */
function blockField(fields: ConfigFields, name: string): Pick<Float8Scales, "block"> {
  const value = fields.values[name] ?? null;
  if (value === null) return {};
  const isSize = (size: unknown): size is number => Number.isSafeInteger(size) && Number(size) > 0;
  if (Array.isArray(value) && value.length === 2 && value.every(isSize)) {
    return { block: [value[0]!, value[1]!] };
  }
  throw fieldError(fields, `${name} must be rows and columns of a block`, JSON.stringify(value));
}
