/**
 * Model sizes from GGUF metadata.
 *
 * @see {@link https://github.com/ggml-org/ggml/blob/master/docs/gguf.md | GGUF, section LLM}
 * @module
 */

import type { Architecture } from "../architecture.ts";
import { checkSizes, type ModelConfig, type RopeScaling } from "../config.ts";
import { findArchitecture, norms } from "../find_architecture.ts";
import {
  type ConfigFields,
  countField,
  fieldError,
  MAX_HEADS,
  MAX_LAYERS,
  positiveField,
  tokenIdsField,
} from "../config_fields.ts";
import { yarnAttention } from "../rope_json.ts";
import { patternOf, windowRules, type Windows } from "../layer_windows.ts";
import { END_MARKERS } from "../tokenizer/end_markers.ts";
import type { GgufFile } from "./gguf.ts";
import type { GgufMetadata } from "./gguf_header.ts";

const CONTROL_TOKEN = 3;

/** Ends a text only as a control token: vocabularies of code have it as an ordinary piece, too. */
const END_TAG = "</s>";

/** Finds the family that the metadata names. */
export function architectureOfGguf({ description, metadata }: GgufFile): Architecture {
  const fields = { location: description, values: metadata };
  return findArchitecture(fields, "general.architecture", ({ ggufNames }) => ggufNames);
}

/**
 * Reads sizes and switches.
 *
 * Llama 3's rotation is scaled by a tensor, not by metadata, so this reads the file.
 *
 * @throws {DataError} If a key is missing or malformed, or asks for something that the forward pass does not support.
 */
export async function configFromGguf(file: GgufFile): Promise<ModelConfig> {
  const architecture = architectureOfGguf(file);
  const fields = familyFields(file);
  const hidden = countField(fields, "embedding_length");
  const queryHeads = countField(fields, "attention.head_count", { max: MAX_HEADS });
  const headDim = countField(fields, "attention.key_length", {
    missing: Math.floor(hidden / queryHeads),
  });
  checkForward(fields, headDim, architecture);
  const bos = tokenIdsField(tokenizerFields(file), "bos_token_id")[0];
  const factors = await ropeFactors(file);
  const layers = countField(fields, "block_count", { max: MAX_LAYERS });
  const context = countField(fields, "context_length");
  const { activation } = architecture.defaults;
  const common: ModelConfig = {
    architecture: architecture.name,
    layers,
    hidden,
    mlp: countField(fields, "feed_forward_length"),
    queryHeads,
    kvHeads: countField(fields, "attention.head_count_kv", {
      max: queryHeads,
      missing: queryHeads,
    }),
    headDim,
    vocabulary: vocabulary(file, fields),
    contextLength: contextLength(fields, architecture, context),
    normEpsilon: positiveField(fields, "attention.layer_norm_rms_epsilon"),
    ropeBase: positiveField(fields, "rope.freq_base", 10000),
    ...windowRules(windows(fields, architecture, layers), context),
    ...ropeScaling(fields, architecture),
    ...(factors !== undefined && { ropeFactors: factors }),
    ...biases(file, architecture),
    ...norms(architecture),
    ...(activation !== undefined && { activation }),
    isTied: !file.tensors.has("lm_head.weight"),
    ...(bos !== undefined && { bosTokenId: bos }),
    eosTokenIds: endTokens(file),
  };
  return checkSizes({ ...common, ...architecture.readGguf?.(fields, common) }, file.description);
}

/** Keys that begin with the family's name, which is removed; lists of equal numbers count as one number. */
function familyFields(file: GgufFile): ConfigFields {
  const prefix = `${file.metadata["general.architecture"]}.`;
  const values = Object.entries(file.metadata)
    .filter(([key]) => key.startsWith(prefix))
    .map(([key, value]) => [key.slice(prefix.length), single(value)]);
  return { location: file.description, values: Object.fromEntries(values) };
}

function single(value: GgufMetadata[string]): unknown {
  if (!ArrayBuffer.isView(value)) return value;
  const numbers = value as Float64Array;
  return numbers.every((number) => number === numbers[0]) ? numbers[0] : value;
}

function tokenizerFields(file: GgufFile): ConfigFields {
  const prefix = "tokenizer.ggml.";
  const names = ["bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id"];
  const values = Object.fromEntries(names.map((name) => [name, file.metadata[prefix + name]]));
  return { location: file.description, values };
}

/** Metadata does not mention biases; the tensors of the first layer tell. */
function biases(
  file: GgufFile,
  { biases }: Architecture,
): Pick<ModelConfig, "hasQkvBias" | "hasOutputBias" | "hasMlpBias"> {
  if (biases !== "announced") return { hasQkvBias: biases === "qkv" };
  const has = (name: string) => file.tensors.has(`model.layers.0.${name}.bias`);
  return {
    hasQkvBias: has("self_attn.q_proj"),
    ...(has("self_attn.o_proj") && { hasOutputBias: true }),
    ...(has("mlp.down_proj") && { hasMlpBias: true }),
  };
}

/** Refuses settings that would change the result but are not supported. */
function checkForward(
  fields: ConfigFields,
  headDim: number,
  { ggufKeys = [] }: Architecture,
): void {
  const { values } = fields;
  for (const name of ["attention.value_length", "rope.dimension_count"]) {
    const size = values[name] ?? headDim;
    if (size !== headDim) {
      throw fieldError(fields, `${name} must be the head size ${headDim}`, size);
    }
  }
  for (
    const [name, value] of [["rope.scaling.attn_factor", 1], ["attention.causal", true]] as const
  ) {
    if ((values[name] ?? value) !== value) {
      throw fieldError(fields, `${name} must be ${value}`, values[name]);
    }
  }
  const neutral: readonly (readonly [string, number])[] = [
    ["expert_count", 0],
    ["logit_scale", 1],
    ["residual_scale", 1],
    ["embedding_scale", 1],
    ["attention.scale", 0],
    ["attention.temperature_scale", 0],
    ["attn_logit_softcapping", 0],
    ["final_logit_softcapping", 0],
  ];
  for (const [name, value] of neutral) {
    if (ggufKeys.includes(name)) continue;
    if ((values[name] ?? value) !== value && values[name] !== 0) {
      throw fieldError(fields, `${name} must be ${value}`, values[name]);
    }
  }
}

function vocabulary(file: GgufFile, fields: ConfigFields): number {
  const rows = file.tensors.get("model.embed_tokens.weight")?.shape[0];
  return rows || countField(fields, "vocab_size");
}

/** Which layers of Qwen's have the window is not said, so that no text may be longer. */
function contextLength(
  fields: ConfigFields,
  { slidingWindow }: Architecture,
  context: number,
): number {
  if (slidingWindow !== "flagged" || !hasWindow(fields)) return context;
  return Math.min(context, countField(fields, "attention.sliding_window"));
}

function hasWindow({ values }: ConfigFields): boolean {
  return (values["attention.sliding_window"] ?? 0) !== 0;
}

/** Windows as llama.cpp reads them; files of Mistral, which are Llama's, have one in every layer. */
function windows(
  fields: ConfigFields,
  { slidingWindow, windowPattern, hasWindowedRope, defaults }: Architecture,
  layers: number,
): Windows | undefined {
  if (slidingWindow === "flagged") return undefined;
  const missing = slidingWindow === "pattern" ? defaults.window ?? 4096 : undefined;
  if (!hasWindow(fields) && missing === undefined) return undefined;
  const window = countField(fields, "attention.sliding_window", { missing });
  const pattern = countField(fields, "attention.sliding_window_pattern", {
    missing: windowPattern ?? 0,
    min: 0,
  });
  return {
    window,
    isWindowed: pattern === 0 ? Array(layers).fill(true) : patternOf(layers, pattern),
    ...(hasWindowedRope && {
      rope: { ropeBase: positiveField(fields, "rope.freq_base_swa", defaults.windowedRopeBase) },
    }),
  };
}

/** As llama.cpp reads it: linear unless a type says otherwise, and a factor that is missing or 0 is 1. */
function ropeScaling(
  fields: ConfigFields,
  architecture: Architecture,
): { readonly ropeScaling?: RopeScaling } {
  const kind = fields.values["rope.scaling.type"] ?? "linear";
  if (kind === "none") return {};
  if (kind !== "linear" && kind !== "yarn") {
    throw fieldError(fields, "rope.scaling.type must be one of none, linear, yarn", kind);
  }
  const old = fields.values["rope.scale_linear"] as number | undefined;
  const isLeftOut = (fields.values["rope.scaling.factor"] ?? old ?? 0) === 0;
  const factor = isLeftOut ? 1 : positiveField(fields, "rope.scaling.factor", old);
  if (factor === 1) return {};
  if (kind === "linear") return { ropeScaling: { kind, factor } };
  const originalContextLength = countField(fields, "rope.scaling.original_context_length", {
    missing: countField(fields, "context_length"),
  });
  const yarn = yarnFields(fields, factor, architecture);
  return { ropeScaling: { kind, factor, originalContextLength, ...yarn } };
}

/** What llama.cpp reads about YaRN for some families, and this engine refuses for the others. */
function yarnFields(
  fields: ConfigFields,
  factor: number,
  { ggufKeys = [] }: Architecture,
): Pick<RopeScaling, "attentionFactor" | "turns"> {
  const isChange = (key: string) => key.startsWith("rope.scaling.yarn_") && !ggufKeys.includes(key);
  const changed = Object.keys(fields.values).find(isChange);
  if (changed !== undefined) {
    throw fieldError(fields, `${changed} must be left out`, fields.values[changed]);
  }
  const [fast, slow] = [["fast", 32], ["slow", 1]].map(([end, missing]) =>
    positiveField(fields, `rope.scaling.yarn_beta_${end}`, missing as number)
  ) as [number, number];
  const scaleOfAll = fields.values["rope.scaling.yarn_log_multiplier"] || undefined;
  const divisor = scaleOfAll === undefined
    ? 1
    : yarnAttention(factor, positiveField(fields, "rope.scaling.yarn_log_multiplier"));
  return { attentionFactor: yarnAttention(factor) / divisor, turns: [fast, slow] };
}

async function ropeFactors(file: GgufFile): Promise<readonly number[] | undefined> {
  const info = file.tensors.get("rope_freqs.weight");
  if (info === undefined) return undefined;
  const fields = { location: file.description };
  if (info.type !== "F32" || info.shape.length !== 1) {
    throw fieldError(fields, "rope_freqs.weight must be a list of F32", info.type);
  }
  const bytes = await file.readRows(info.name, 0, 1);
  const factors = Array.from(new Float32Array(bytes.buffer));
  if (factors.every((factor) => factor === 1)) return undefined;
  if (factors.every((factor) => Number.isFinite(factor) && factor > 0)) return factors;
  throw fieldError(fields, "rope_freqs.weight must hold numbers above 0", "others");
}

/** Files name one token that ends a turn or a text, but models stop at any, whatever type it has, as in llama.cpp. */
function endTokens(file: GgufFile): number[] {
  const fields = tokenizerFields(file);
  const named = ["eos_token_id", "eot_token_id", "eom_token_id"].flatMap((name) =>
    tokenIdsField(fields, name)
  );
  const tokens = file.metadata["tokenizer.ggml.tokens"];
  if (!Array.isArray(tokens)) return [...new Set(named)];
  const types = file.metadata["tokenizer.ggml.token_type"];
  const kinds = ArrayBuffer.isView(types) ? types as Int32Array : [];
  const known: number[] = [];
  for (let id = 0; id < tokens.length; id++) {
    const isTag = tokens[id] === END_TAG && kinds[id] === CONTROL_TOKEN;
    if (isTag || END_MARKERS.has(tokens[id])) known.push(id);
  }
  return [...new Set([...named, ...known])];
}
