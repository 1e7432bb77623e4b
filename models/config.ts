/**
 * Sizes and switches of a model, from `config.json` or from GGUF metadata.
 *
 * @module
 */

import type { AttentionRule } from "../kernels/attention_shape.ts";

/** How rotary frequencies are stretched for contexts longer than the first training's. */
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
  /** Name of the family in `architectures/`, as `qwen2`. */
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
