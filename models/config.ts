/**
 * Sizes and switches of a model, and the typed reading of the fields that they come from: `config.json` or GGUF metadata.
 *
 * @module
 */

import type { DataError } from "../core/check.ts";
import type { Architecture } from "./architecture.ts";
import { ARCHITECTURES } from "./architectures/mod.ts";
import { fileFailure } from "./files/ranged_file.ts";
import type { AttentionRule } from "../kernels/attention_shape.ts";

/** How rotary frequencies are stretched for contexts longer than those of the original training. */
export interface RopeScaling {
  /** Rule: `linear` divides every frequency, `llama3` only the slow ones. */
  readonly kind: "llama3" | "linear";
  /** What frequencies are divided by. */
  readonly factor: number;
  /** Turns over the original context below which a frequency is divided; `llama3` only. */
  readonly lowFrequencyFactor?: number;
  /** Turns over the original context above which a frequency stays; `llama3` only. */
  readonly highFrequencyFactor?: number;
  /** Tokens of the context before stretching; `llama3` only. */
  readonly originalContextLength?: number;
}

/** What one layer's attention does differently from plain causal attention with the model's rotation. */
export interface LayerAttention extends AttentionRule {
  /** Base of the layer's rotary frequencies, with its own scaling; the model's if left out. */
  readonly ropeBase?: number;
  /** Stretching of those frequencies; none if left out. */
  readonly ropeScaling?: RopeScaling;
}

/** Sizes and switches of a decoder-only transformer. */
export interface ModelConfig {
  /** Name of the family in `architectures/`, such as `qwen2`. */
  readonly architecture: string;
  /** Number of layers. */
  readonly layers: number;
  /** Layers of the whole model where `layers` are only its first ones. */
  readonly modelLayers?: number;
  /** Width of the residual stream, in elements. */
  readonly hidden: number;
  /** Width inside the MLP, in elements. */
  readonly mlp: number;
  /** Query heads per layer. */
  readonly queryHeads: number;
  /** KV heads per layer; divides `queryHeads`. */
  readonly kvHeads: number;
  /** Elements of a head; even. */
  readonly headDim: number;
  /** Elements of a head in the files, where heads were widened with zeros for the kernels. */
  readonly fileHeadDim?: number;
  /** Rows of the embedding, which may exceed the tokens of the tokenizer. */
  readonly vocabulary: number;
  /** Most tokens that all attention layers see at once: a sliding window shortens it. */
  readonly contextLength: number;
  /** What is added to the mean square before the root. */
  readonly normEpsilon: number;
  /** Base of the rotary frequencies. */
  readonly ropeBase: number;
  /** Stretching of the frequencies by rule. */
  readonly ropeScaling?: RopeScaling;
  /** What each frequency is divided by, [headDim / 2]; Llama 3 files in GGUF hold it instead of a rule. */
  readonly ropeFactors?: readonly number[];
  /** Window, softcap, sinks and rotation of each layer; every layer is a plain one if left out. */
  readonly layerAttention?: readonly LayerAttention[];
  /** Whether query, key and value projections have biases. */
  readonly hasQkvBias: boolean;
  /** Whether the projection of the heads' outputs has a bias; no if left out. */
  readonly hasOutputBias?: boolean;
  /** Whether the three projections of the MLP have biases; no if left out. */
  readonly hasMlpBias?: boolean;
  /** Whether each query and key head is normalized. */
  readonly hasQkNorm: boolean;
  /** Whether the embedding is also the projection to logits. */
  readonly isTied: boolean;
  /** Token that begins a text. */
  readonly bosTokenId?: number;
  /** Tokens after which generation stops; may be empty. */
  readonly eosTokenIds: readonly number[];
}

/** Fields of one object, with the file they came from. */
export interface ConfigFields {
  /** File, for messages. */
  readonly location: string;
  /** Values by name. */
  readonly values: Readonly<Record<string, unknown>>;
}

/** Makes the error for an invalid field. */
export function fieldError(
  fields: Pick<ConfigFields, "location">,
  requirement: string,
  current: unknown,
): DataError {
  const shown = typeof current === "string" ? JSON.stringify(current.slice(0, 100)) : current;
  return fileFailure(fields.location, requirement, shown);
}

/** Most layers that a file may announce. */
export const MAX_LAYERS = 1024;
/** Most heads that a file may announce. */
export const MAX_HEADS = 4096;

/**
 * Finds the family of a model.
 *
 * @param namesOf Values of the field that stand for a family.
 * @throws {DataError} If it is none of those in `architectures/`; the message lists them.
 */
export function findArchitecture(
  fields: ConfigFields,
  name: string,
  namesOf: (family: Architecture) => readonly string[],
): Architecture {
  const value = fields.values[name];
  const found = ARCHITECTURES.find((family) => namesOf(family).includes(value as string));
  if (found !== undefined) return found;
  const known = ARCHITECTURES.flatMap(namesOf).join(", ");
  throw fieldError(fields, `${name} must be one of ${known}`, value);
}

/**
 * Reads a whole number.
 *
 * @param bounds Smallest and largest value, 1 and 2^31 - 1 if left out, and the value of a missing field.
 * @returns An integer within the bounds.
 * @throws {DataError} If the field is something else, or missing without a fallback.
 */
export function countField(
  fields: ConfigFields,
  name: string,
  bounds: {
    readonly min?: number;
    readonly max?: number;
    readonly missing?: number | undefined;
  } = {},
): number {
  const { min = 1, max = 2 ** 31 - 1, missing } = bounds;
  const value = fields.values[name] ?? missing;
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) {
    return value;
  }
  throw fieldError(fields, `${name} must be an integer from ${min} to ${max}`, value);
}

/**
 * Reads a positive number.
 *
 * @param missing Value of a missing field; the field is required if left out.
 * @returns A finite number above 0.
 * @throws {DataError} If the field is something else, or missing without a fallback.
 */
export function positiveField(fields: ConfigFields, name: string, missing?: number): number {
  const value = fields.values[name] ?? missing;
  if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
  throw fieldError(fields, `${name} must be a number above 0`, value);
}

/**
 * Reads a field that may be true, false or missing.
 *
 * @returns The value; false for a missing or null field.
 * @throws {DataError} If the field is something else.
 */
export function flagField(fields: ConfigFields, name: string): boolean {
  const value = fields.values[name] ?? false;
  if (typeof value === "boolean") return value;
  throw fieldError(fields, `${name} must be true or false`, value);
}

/**
 * Reads token ids from a number, a list or nothing.
 *
 * @returns The ids in their order; empty for a missing or null field. They need not be of the vocabulary: some files say
 *   -1 or 2^32 - 1 for none.
 * @throws {DataError} If the field is something else.
 */
export function tokenIdsField(fields: ConfigFields, name: string): number[] {
  const value = fields.values[name] ?? [];
  const ids: unknown[] = Array.isArray(value) ? value : [value];
  const isId = (id: unknown): id is number => Number.isSafeInteger(id);
  if (ids.every(isId)) return ids;
  throw fieldError(fields, `${name} must be token ids`, value);
}

/**
 * Checks that sizes fit each other.
 *
 * @throws {DataError} If the forward pass cannot work with them.
 */
export function checkSizes(config: ModelConfig, location: string): ModelConfig {
  const { queryHeads, kvHeads, headDim, ropeFactors, normEpsilon } = config;
  if (queryHeads % kvHeads !== 0) {
    throw fieldError({ location }, `KV heads must divide the ${queryHeads} query heads`, kvHeads);
  }
  if (normEpsilon > 1) {
    throw fieldError({ location }, "the epsilon of norms must be at most 1", normEpsilon);
  }
  if (headDim % 2 !== 0) {
    throw fieldError({ location }, "the head size must be even", headDim);
  }
  if (ropeFactors !== undefined && ropeFactors.length !== headDim / 2) {
    throw fieldError({ location }, `rope factors must be ${headDim / 2}`, ropeFactors.length);
  }
  return config;
}

/**
 * Leaves out begin and end tokens that the vocabulary does not have.
 *
 * @param onWarning Called for each of them.
 */
export function withKnownTokens(
  config: ModelConfig,
  onWarning: (warning: string) => void,
): ModelConfig {
  const { bosTokenId, eosTokenIds, vocabulary, ...others } = config;
  const isKnown = (role: string) => (id: number) => {
    if (id >= 0 && id < vocabulary) return true;
    onWarning(`the ${role} token ${id} is ignored, because the vocabulary has ${vocabulary}`);
    return false;
  };
  const [bos] = bosTokenId === undefined ? [] : [bosTokenId].filter(isKnown("begin"));
  return {
    ...others,
    vocabulary,
    ...(bos !== undefined && { bosTokenId: bos }),
    eosTokenIds: eosTokenIds.filter(isKnown("end")),
  };
}
