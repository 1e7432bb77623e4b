/**
 * Checks that a file holds exactly the weights that the forward pass uses.
 *
 * @module
 */

import { DataError, RequirementError } from "../../core/check.ts";
import type { ModelConfig } from "../config.ts";
import type { TensorSource } from "./tensor_source.ts";

/** Tensors that files contain although they follow from the sizes. */
const HARMLESS = /(^|\.)(rotary_emb|attn_rot_embd|masked_bias)(\.|$)/;

/**
 * Shapes of all weights of a model.
 *
 * @returns Shape by canonical name, in the order of the forward pass.
 */
export function weightShapes(config: ModelConfig): ReadonlyMap<string, readonly number[]> {
  const { vocabulary, hidden, layers } = config;
  const shapes = new Map<string, readonly number[]>();
  shapes.set("model.embed_tokens.weight", [vocabulary, hidden]);
  for (let layer = 0; layer < layers; layer++) {
    for (const [name, shape] of layerShapes(config, layer)) {
      shapes.set(`model.layers.${layer}.${name}`, shape);
    }
  }
  shapes.set("model.norm.weight", [hidden]);
  if (!config.isTied) shapes.set("lm_head.weight", [vocabulary, hidden]);
  return shapes;
}

type NamedShape = readonly [string, readonly number[]];

function layerShapes(config: ModelConfig, layer: number): readonly NamedShape[] {
  const { hidden, mlp, queryHeads, kvHeads, headDim } = config;
  const query = queryHeads * headDim;
  const kv = kvHeads * headDim;
  const { hasQkvBias, hasOutputBias = false, hasMlpBias = false } = config;
  const norms: readonly NamedShape[] = [
    ["self_attn.q_norm.weight", [headDim]],
    ["self_attn.k_norm.weight", [headDim]],
  ];
  const sinks: NamedShape = ["self_attn.sinks", [queryHeads]];
  return [
    ["input_layernorm.weight", [hidden]],
    ...projection("self_attn.q_proj", [query, hidden], hasQkvBias),
    ...projection("self_attn.k_proj", [kv, hidden], hasQkvBias),
    ...projection("self_attn.v_proj", [kv, hidden], hasQkvBias),
    ...(config.hasQkNorm ? norms : []),
    ...(config.layerAttention?.[layer]?.hasSinks ? [sinks] : []),
    ...projection("self_attn.o_proj", [hidden, query], hasOutputBias),
    ["post_attention_layernorm.weight", [hidden]],
    ...projection("mlp.gate_proj", [mlp, hidden], hasMlpBias),
    ...projection("mlp.up_proj", [mlp, hidden], hasMlpBias),
    ...projection("mlp.down_proj", [hidden, mlp], hasMlpBias),
  ];
}

function projection(
  name: string,
  shape: readonly [number, number],
  hasBias: boolean,
): readonly NamedShape[] {
  const weight: NamedShape = [`${name}.weight`, shape];
  return hasBias ? [weight, [`${name}.bias`, [shape[0]]]] : [weight];
}

/**
 * Throws unless a source has all weights in the right shapes and none that would change the result.
 *
 * Weights of layers after the last, of other parts of a larger model, and rotary tables are ignored.
 *
 * @throws {RequirementError} If a weight has another shape.
 * @throws {DataError} If a weight is missing, or the forward pass would ignore one.
 */
export function checkWeights(
  label: string,
  { config, source }: { readonly config: ModelConfig; readonly source: TensorSource },
): void {
  const shapes = weightShapes(config);
  for (const [name, shape] of shapes) checkWeight(label, { name, shape, source });
  for (const name of source.tensors.keys()) {
    if (shapes.has(name) || HARMLESS.test(name) || !isOfModel(name, config)) continue;
    throw new DataError(
      `Cannot load ${label}: there must be no tensor "${name}", which the configuration does not announce: current file is ${source.description}`,
    );
  }
}

function checkWeight(
  label: string,
  { name, shape, source }: {
    readonly name: string;
    readonly shape: readonly number[];
    readonly source: TensorSource;
  },
): void {
  const info = source.tensors.get(name);
  const required = `tensor "${name}" must be [${shape.join(", ")}]`;
  if (info === undefined) {
    throw new DataError(
      `Cannot load ${label}: ${required}: current value is missing in ${source.description}`,
    );
  }
  const isSame = info.shape.length === shape.length &&
    info.shape.every((length, axis) => length === shape[axis]);
  if (isSame) return;
  throw new RequirementError({
    action: `load ${label}`,
    requirement: required,
    state: `shape is [${info.shape.join(", ")}]`,
  });
}

function isOfModel(name: string, { layers, isTied }: ModelConfig): boolean {
  if (isTied && name === "lm_head.weight") return false;
  const layer = /^model\.layers\.(\d+)\./.exec(name)?.[1];
  if (layer !== undefined) return Number(layer) < layers;
  return /^(model\.(norm|embed_tokens)|lm_head|rope_factors_long|rope_factors_short)\./.test(name);
}
