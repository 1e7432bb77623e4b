/**
 * Model sizes from GGUF metadata.
 *
 * @see {@link https://github.com/ggml-org/ggml/blob/master/docs/gguf.md | GGUF, section LLM}
 * @module
 */

import type { Architecture } from "../architecture.ts";
import {
  checkSizes,
  type ConfigFields,
  countField,
  fieldError,
  findArchitecture,
  MAX_HEADS,
  MAX_LAYERS,
  type ModelConfig,
  positiveField,
  type RopeScaling,
  tokenIdsField,
} from "../config.ts";
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
  checkForward(fields, headDim);
  const bos = tokenIdsField(tokenizerFields(file), "bos_token_id")[0];
  const factors = await ropeFactors(file);
  return checkSizes({
    architecture: architecture.name,
    layers: countField(fields, "block_count", { max: MAX_LAYERS }),
    hidden,
    mlp: countField(fields, "feed_forward_length"),
    queryHeads,
    kvHeads: countField(fields, "attention.head_count_kv", {
      max: queryHeads,
      missing: queryHeads,
    }),
    headDim,
    vocabulary: vocabulary(file, fields),
    contextLength: contextLength(fields),
    normEpsilon: positiveField(fields, "attention.layer_norm_rms_epsilon"),
    ropeBase: positiveField(fields, "rope.freq_base", 10000),
    ...ropeScaling(fields),
    ...(factors !== undefined && { ropeFactors: factors }),
    ...biases(file, architecture),
    hasQkNorm: architecture.hasQkNorm,
    isTied: !file.tensors.has("lm_head.weight"),
    ...(bos !== undefined && { bosTokenId: bos }),
    eosTokenIds: endTokens(file),
  }, file.description);
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
function checkForward(fields: ConfigFields, headDim: number): void {
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
  ];
  for (const [name, value] of neutral) {
    if ((values[name] ?? value) !== value && values[name] !== 0) {
      throw fieldError(fields, `${name} must be ${value}`, values[name]);
    }
  }
  const scale = values["attention.scale"] ?? 0;
  if (scale !== 0) throw fieldError(fields, "attention.scale must be left out", scale);
}

function vocabulary(file: GgufFile, fields: ConfigFields): number {
  const rows = file.tensors.get("model.embed_tokens.weight")?.shape[0];
  return rows || countField(fields, "vocab_size");
}

function contextLength(fields: ConfigFields): number {
  const context = countField(fields, "context_length");
  const window = fields.values["attention.sliding_window"] ?? 0;
  if (window === 0) return context;
  return Math.min(context, countField(fields, "attention.sliding_window"));
}

/** As llama.cpp reads it: linear unless a type says otherwise, and a factor that is missing or 0 is 1. */
function ropeScaling(fields: ConfigFields): { readonly ropeScaling?: RopeScaling } {
  const kind = fields.values["rope.scaling.type"] ?? "linear";
  if (kind === "none") return {};
  if (kind !== "linear") throw fieldError(fields, "rope.scaling.type must be none or linear", kind);
  const old = fields.values["rope.scale_linear"] as number | undefined;
  const isLeftOut = (fields.values["rope.scaling.factor"] ?? old ?? 0) === 0;
  const factor = isLeftOut ? 1 : positiveField(fields, "rope.scaling.factor", old);
  return factor === 1 ? {} : { ropeScaling: { kind, factor } };
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
