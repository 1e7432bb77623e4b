/**
 * Names of the norms of a block, which mean different things in different families.
 *
 * @module
 */

import type { ModelConfig } from "../config.ts";

/** Tensors of the norms of a block, without the block's prefix; absent where there is no norm. */
export interface BlockNormNames {
  /** On what attention reads. */
  readonly attention?: string;
  /** On what attention adds to the residual stream. */
  readonly attentionOutput?: string;
  /** On what the MLP reads. */
  readonly mlp?: string;
  /** On what the MLP adds to the residual stream. */
  readonly mlpOutput?: string;
}

const NAMES: Readonly<Record<NonNullable<ModelConfig["blockNorms"]>, BlockNormNames>> = {
  before: {
    attention: "input_layernorm.weight",
    mlp: "post_attention_layernorm.weight",
  },
  after: {
    attentionOutput: "post_attention_layernorm.weight",
    mlpOutput: "post_feedforward_layernorm.weight",
  },
  around: {
    attention: "input_layernorm.weight",
    attentionOutput: "post_attention_layernorm.weight",
    mlp: "pre_feedforward_layernorm.weight",
    mlpOutput: "post_feedforward_layernorm.weight",
  },
};

/** Names of the norms of a model's blocks, as transformers calls them. */
export function blockNormNames(
  { blockNorms = "before" }: Pick<ModelConfig, "blockNorms">,
): BlockNormNames {
  return NAMES[blockNorms];
}
