/**
 * Gemma 3, text only: five of six layers see a window, with a rotation of their own.
 *
 * @see {@link https://arxiv.org/abs/2503.19786 | Gemma 3}
 * @module
 */

import type { Architecture } from "../architecture.ts";
import { fieldError, flagField, optionalPositive, positiveField } from "../config_fields.ts";

/** Layers of the model of 27 billion parameters, which scales queries by another number than the size of a head. */
const LAYERS_27B = 62;

/** The Gemma 3 family without its encoder of images. */
export const gemma3: Architecture = {
  name: "gemma3",
  label: "Gemma 3",
  modelTypes: ["gemma3_text"],
  ggufNames: ["gemma3"],
  isGgufInterleaved: false,
  biases: "none",
  hasQkNorm: true,
  blockNorms: "around",
  normOffset: 1,
  slidingWindow: "pattern",
  windowPattern: 6,
  hasWindowedRope: true,
  readJson(fields, { hidden }) {
    const cap = optionalPositive(fields, "final_logit_softcapping");
    const attentionCap = fields.values.attn_logit_softcapping ?? null;
    if (attentionCap !== null) {
      // transformers has the field, but its Gemma 3 does not apply it.
      throw fieldError(fields, "attn_logit_softcapping must be null", attentionCap);
    }
    if (flagField(fields, "use_bidirectional_attention")) {
      throw fieldError(fields, "use_bidirectional_attention must be false", true);
    }
    return {
      embeddingFactor: Math.sqrt(hidden),
      attentionFactor: positiveField(fields, "query_pre_attn_scalar", 256) ** -0.5,
      ...(cap !== undefined && { logitSoftcap: cap }),
    };
  },
  readGguf(fields, { hidden, headDim, layers, queryHeads }) {
    const cap = optionalPositive(fields, "final_logit_softcapping");
    return {
      embeddingFactor: Math.sqrt(hidden),
      attentionFactor: (layers === LAYERS_27B ? hidden / queryHeads : headDim) ** -0.5,
      ...(cap !== undefined && { logitSoftcap: cap }),
    };
  },
  ggufKeys: ["final_logit_softcapping"],
  defaults: {
    queryHeads: 8,
    vocabulary: 262208,
    headDim: 256,
    kvHeads: 4,
    contextLength: 131072,
    normEpsilon: 1e-6,
    ropeBase: 1e6,
    windowedRopeBase: 10000,
    activation: "gelu_pytorch_tanh",
    isTied: true,
    bosTokenId: 2,
    eosTokenId: 1,
  },
};
