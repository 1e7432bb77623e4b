/**
 * Granite 3 and the dense models of Granite 4: Llama's form with four multipliers.
 *
 * @see {@link https://www.ibm.com/granite/docs/models/granite | Granite}
 * @module
 */

import type { Architecture, FamilyReader } from "../architecture.ts";
import type { ModelConfig } from "../config.ts";
import { type ConfigFields, countField, fieldError, positiveField } from "../config_fields.ts";

/** Fields of the multipliers, and the one of attention where the field is missing. */
interface Multipliers {
  readonly embedding: string;
  readonly residual: string;
  readonly logit: string;
  readonly attention: string;
  readonly attentionMissing: (headDim: number) => number;
}

/** Reads the multipliers; the one of logits divides them. */
function multipliers(names: Multipliers): FamilyReader {
  return (fields, { headDim }) => {
    const factor = (name: string, missing = 1) => positiveField(fields, name, missing);
    return {
      embeddingFactor: factor(names.embedding),
      residualFactor: factor(names.residual),
      logitFactor: 1 / factor(names.logit),
      attentionFactor: factor(names.attention, names.attentionMissing(headDim)),
    };
  };
}

const readMultipliers = multipliers({
  embedding: "embedding_multiplier",
  residual: "residual_multiplier",
  logit: "logits_scaling",
  attention: "attention_multiplier",
  attentionMissing: () => 1,
});

/**
 * What Granite 4 says beyond Granite 3: each layer has attention or a state-space model, experts beside an MLP for all
 * tokens, and a rotation or none. Only attention, no experts, and a rotation are computed.
 */
function hybridFields(fields: ConfigFields): Partial<ModelConfig> {
  const { values } = fields;
  if (values.model_type !== "granitemoehybrid") return {};
  const types = values.layer_types ?? values.layers_block_type;
  const isAttention = (type: unknown) => type === "attention" || type === "full_attention";
  if (!Array.isArray(types) || !types.every(isAttention)) {
    const state = Array.isArray(types) ? types.find((type) => !isAttention(type)) : types;
    throw fieldError(fields, "layer_types must be a list of attention alone", state);
  }
  for (const [name, only] of [["num_local_experts", 0], ["position_embedding_type", "rope"]]) {
    if (values[name!] !== only) throw fieldError(fields, `${name} must be ${only}`, values[name!]);
  }
  return { mlp: countField(fields, "shared_intermediate_size", { missing: 1024 }) };
}

/** The Granite family, without mixtures of experts and state-space layers. */
export const granite: Architecture = {
  name: "granite",
  label: "Granite",
  modelTypes: ["granite", "granitemoehybrid"],
  ggufNames: ["granite"],
  isGgufInterleaved: true,
  biases: "announced",
  hasQkNorm: false,
  slidingWindow: "never",
  readJson: (fields, config) => ({ ...readMultipliers(fields, config), ...hybridFields(fields) }),
  readGguf: multipliers({
    embedding: "embedding_scale",
    residual: "residual_scale",
    logit: "logit_scale",
    attention: "attention.scale",
    attentionMissing: (headDim) => headDim ** -0.5,
  }),
  ggufKeys: ["embedding_scale", "residual_scale", "logit_scale", "attention.scale"],
  defaults: {
    contextLength: 2048,
    normEpsilon: 1e-6,
    ropeBase: 10000,
    bosTokenId: 1,
    eosTokenId: 2,
  },
};
