/**
 * Sizes and switches of a model, and checks that all files have in common.
 *
 * @module
 */

import { fieldError } from "./config_fields.ts";
import type { AttentionRule } from "../kernels/attention_shape.ts";
import type { Activation } from "../kernels/gate_multiply.ts";

/** A rule by which rotary frequencies are stretched, under transformers' name. */
export type RopeScalingKind = "linear" | "dynamic" | "yarn" | "longrope" | "llama3";

/** All rules. */
export const ROPE_SCALINGS: readonly RopeScalingKind[] = [
  "linear",
  "dynamic",
  "yarn",
  "longrope",
  "llama3",
];

/** How rotary frequencies are stretched for contexts longer than those of the original training. */
export interface RopeScaling {
  /**
   * Rule: `linear` divides every frequency, `llama3` and `yarn` only the slow ones, `longrope` each by its own number, and
   * `dynamic` raises the base.
   */
  readonly kind: RopeScalingKind;
  /** What frequencies are divided by; 1 with `longrope`. */
  readonly factor: number;
  /** Turns over the original context below which a frequency is divided; `llama3` only. */
  readonly lowFrequencyFactor?: number;
  /** Turns over the original context above which a frequency stays; `llama3` only. */
  readonly highFrequencyFactor?: number;
  /** Tokens of the context before stretching; not with `linear`. */
  readonly originalContextLength?: number;
  /** Factor on rotated queries and on rotated keys; 1 if left out. */
  readonly attentionFactor?: number;
  /** Turns over the original context above which a frequency stays, and below which it is divided; `yarn` only. */
  readonly turns?: readonly [fast: number, slow: number];
  /** Whether the pairs of elements between these two are counted in whole pairs; `yarn` only, true if left out. */
  readonly isTruncated?: boolean;
  /** What each frequency is divided by where all tokens fit the original context, [headDim / 2]; `longrope` only. */
  readonly shortFactors?: readonly number[];
  /** The same where they do not. */
  readonly longFactors?: readonly number[];
}

/**
 * Where the norms of a block stand: before attention and MLP, after them (on what they add to the residual stream), or
 * around them.
 */
export type BlockNorms = "before" | "after" | "around";

/** What one layer's attention does differently from plain causal attention with the model's rotation. */
export interface LayerAttention extends AttentionRule {
  /** Base of the layer's rotary frequencies, with its own scaling; the model's if left out. */
  readonly ropeBase?: number;
  /** Stretching of those frequencies; none if left out. */
  readonly ropeScaling?: RopeScaling;
}

/** How rotated queries are scaled by their position. */
export interface QueryScaling {
  /** Factor on the logarithm of full contexts; the scale at position p is 1 + beta * ln(1 + floor(p / contextLength)). */
  readonly beta: number;
  /** Tokens of the context before stretching, within which queries are left alone. */
  readonly contextLength: number;
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
  /** Most tokens of a sequence. */
  readonly contextLength: number;
  /** What is added to the mean square before the root. */
  readonly normEpsilon: number;
  /** Base of the rotary frequencies. */
  readonly ropeBase: number;
  /** Stretching of the frequencies by rule. */
  readonly ropeScaling?: RopeScaling;
  /** What each frequency is divided by, [headDim / 2]; Llama 3 files in GGUF hold it instead of a rule. */
  readonly ropeFactors?: readonly number[];
  /** How rotated queries are scaled by their position; not at all if left out. */
  readonly queryScaling?: QueryScaling;
  /** Window, softcap, sinks and rotation of each layer; every layer is a plain one if left out. */
  readonly layerAttention?: readonly LayerAttention[];
  /** Whether query, key and value projections have biases. */
  readonly hasQkvBias: boolean;
  /** Whether the projection of the heads' outputs has a bias; no if left out. */
  readonly hasOutputBias?: boolean;
  /** Whether the three projections of the MLP have biases; no if left out. */
  readonly hasMlpBias?: boolean;
  /** Whether query and key heads are normalized. */
  readonly hasQkNorm: boolean;
  /** Whether that norm is over all query heads, and all key heads, of a token together; no if left out. */
  readonly isQkNormJoint?: boolean;
  /** Activation of the MLP; SiLU if left out. */
  readonly activation?: Activation;
  /** Where the norms of a block stand; before attention and MLP if left out. */
  readonly blockNorms?: BlockNorms;
  /** What is added to the weights of all norms, where files hold their difference to it; 0 if left out. */
  readonly normOffset?: number;
  /** Factor on rows of the embedding; 1 if left out. */
  readonly embeddingFactor?: number;
  /** Factor on what attention and MLP add to the residual stream; 1 if left out. */
  readonly residualFactor?: number;
  /** Factor on logits; 1 if left out. */
  readonly logitFactor?: number;
  /** Factor on products of queries and keys; 1 over the root of the head size if left out. */
  readonly attentionFactor?: number;
  /** Logits x become `logitSoftcap * tanh(x / logitSoftcap)`; unchanged if left out. */
  readonly logitSoftcap?: number;
  /** Whether the embedding is also the projection to logits. */
  readonly isTied: boolean;
  /** Token that begins a text. */
  readonly bosTokenId?: number;
  /** Tokens after which generation stops; may be empty. */
  readonly eosTokenIds: readonly number[];
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
  if (config.residualFactor !== undefined && (config.blockNorms ?? "before") !== "before") {
    throw fieldError({ location }, "a factor on the residual stream must go with norms before", 1);
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
