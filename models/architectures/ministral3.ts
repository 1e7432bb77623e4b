/**
 * Ministral 3 and other models of Mistral since: Mistral's form, with YaRN and queries that are scaled by position.
 *
 * @see {@link https://arxiv.org/abs/2601.08584 | Ministral 3}
 * @module
 */

import type { Architecture } from "../architecture.ts";
import type { QueryScaling } from "../config.ts";
import { type ConfigFields, countField, fieldError } from "../config_fields.ts";
import { ropeValues } from "../rope_json.ts";

/** Reads the factor of the scale; 0 asks for none. */
function queryScaling(
  fields: ConfigFields,
  name: string,
  contextLength: () => number,
): { readonly queryScaling?: QueryScaling } {
  const beta = fields.values[name];
  if (typeof beta !== "number" || !Number.isFinite(beta) || beta < 0) {
    throw fieldError(fields, `${name} must be a number from 0`, beta);
  }
  return beta === 0 ? {} : { queryScaling: { beta, contextLength: contextLength() } };
}

/** The Ministral 3 family without its encoder of images. */
export const ministral3: Architecture = {
  name: "ministral3",
  label: "Ministral 3",
  modelTypes: ["ministral3"],
  ggufNames: ["mistral3"],
  isGgufInterleaved: true,
  biases: "none",
  hasQkNorm: false,
  slidingWindow: "ifGiven",
  readJson(fields, { ropeScaling }) {
    const rope = { location: fields.location, values: ropeValues(fields, ministral3) };
    // Most stretched rotations know it from where else it may stand; that of a dynamic one is another number.
    const known = ropeScaling?.kind === "dynamic" ? undefined : ropeScaling?.originalContextLength;
    return queryScaling(
      rope,
      "llama_4_scaling_beta",
      () => known ?? countField(rope, "original_max_position_embeddings"),
    );
  },
  readGguf(fields) {
    const values = { "attention.temperature_scale": 0, ...fields.values };
    const own = { ...fields, values };
    return queryScaling(
      own,
      "attention.temperature_scale",
      () =>
        countField(fields, "rope.scaling.original_context_length", {
          missing: countField(fields, "context_length"),
        }),
    );
  },
  ggufKeys: [
    "attention.temperature_scale",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_log_multiplier",
  ],
  defaults: {
    queryHeads: 32,
    vocabulary: 131072,
    headDim: 128,
    kvHeads: 8,
    contextLength: 262144,
    normEpsilon: 1e-5,
    ropeBase: 10000,
    rope: {
      rope_type: "yarn",
      rope_theta: 1e6,
      factor: 16,
      original_max_position_embeddings: 16384,
      mscale: 1,
      mscale_all_dim: 1,
      llama_4_scaling_beta: 0.1,
    },
    bosTokenId: 1,
    eosTokenId: 2,
  },
};
