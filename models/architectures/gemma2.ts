/**
 * Gemma 2: every other layer sees a window, and scores and logits are bounded by soft caps.
 *
 * @see {@link https://arxiv.org/abs/2408.00118 | Gemma 2}
 * @module
 */

import type { Architecture } from "../architecture.ts";
import type { ModelConfig } from "../config.ts";
import {
  type ConfigFields,
  fieldError,
  flagField,
  optionalPositive,
  positiveField,
} from "../config_fields.ts";

/** Layers of the model of 27 billion parameters, which scales queries by another number than the size of a head. */
const LAYERS_27B = 46;

/** The Gemma 2 family. */
export const gemma2: Architecture = {
  name: "gemma2",
  label: "Gemma 2",
  modelTypes: ["gemma2"],
  ggufNames: ["gemma2"],
  isGgufInterleaved: false,
  biases: "none",
  hasQkNorm: false,
  blockNorms: "around",
  normOffset: 1,
  slidingWindow: "pattern",
  windowPattern: 2,
  readJson(fields, config) {
    if (flagField(fields, "use_bidirectional_attention")) {
      throw fieldError(fields, "use_bidirectional_attention must be false", true);
    }
    return {
      embeddingFactor: Math.sqrt(config.hidden),
      attentionFactor: positiveField(fields, "query_pre_attn_scalar", 256) ** -0.5,
      ...softcaps(fields, config),
    };
  },
  readGguf(fields, config) {
    const { hidden, headDim, layers, queryHeads } = config;
    return {
      embeddingFactor: Math.sqrt(hidden),
      attentionFactor: (layers === LAYERS_27B ? hidden / queryHeads : headDim) ** -0.5,
      ...softcaps(fields, config),
    };
  },
  ggufKeys: ["attn_logit_softcapping", "final_logit_softcapping"],
  defaults: {
    headDim: 256,
    kvHeads: 4,
    contextLength: 8192,
    normEpsilon: 1e-6,
    ropeBase: 10000,
    activation: "gelu_pytorch_tanh",
    isTied: true,
    bosTokenId: 2,
    eosTokenId: 1,
  },
};

/** Bounds on scores and logits, under the same names in both kinds of file; null is none, missing the family's. */
function softcaps(
  fields: ConfigFields,
  { layers, layerAttention }: ModelConfig,
): Partial<ModelConfig> {
  const cap = (name: string, missing: number) =>
    fields.values[name] === undefined ? missing : optionalPositive(fields, name);
  const softcap = cap("attn_logit_softcapping", 50);
  const logitSoftcap = cap("final_logit_softcapping", 30);
  const rules = Array.from({ length: layers }, (_, layer) => ({
    ...layerAttention?.[layer],
    ...(softcap !== undefined && { softcap }),
  }));
  return { layerAttention: rules, ...(logitSoftcap !== undefined && { logitSoftcap }) };
}
