/**
 * Checks that a file holds exactly the weights that the forward pass uses.
 *
 * @module
 */

import { DataError, RequirementError } from "../../core/check.ts";
import type { ModelConfig } from "../config.ts";
import { blockNormNames } from "./block_norms.ts";
import { isReadable, TENSOR_TYPES, type TensorInfo, type TensorSource } from "./tensor_source.ts";

/** Tensors that files contain although they follow from the sizes. */
const HARMLESS = /(^|\.)(rotary_emb|attn_rot_embd|masked_bias)(\.|$)/;
/** Types of tables and masks; weights are never whole numbers. */
const WHOLE_NUMBERS = /^(BOOL|[IU]\d+)$/;

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
    ["self_attn.q_norm.weight", [config.isQkNormJoint ? query : headDim]],
    ["self_attn.k_norm.weight", [config.isQkNormJoint ? kv : headDim]],
  ];
  const sinks: NamedShape = ["self_attn.sinks", [queryHeads]];
  const { attention, attentionOutput, mlp: beforeMlp, mlpOutput } = blockNormNames(config);
  const norm = (name: string | undefined): readonly NamedShape[] =>
    name === undefined ? [] : [[name, [hidden]]];
  return [
    ...norm(attention),
    ...projection("self_attn.q_proj", [query, hidden], hasQkvBias),
    ...projection("self_attn.k_proj", [kv, hidden], hasQkvBias),
    ...projection("self_attn.v_proj", [kv, hidden], hasQkvBias),
    ...(config.hasQkNorm ? norms : []),
    ...(config.layerAttention?.[layer]?.hasSinks ? [sinks] : []),
    ...projection("self_attn.o_proj", [hidden, query], hasOutputBias),
    ...norm(attentionOutput),
    ...norm(beforeMlp),
    ...projection("mlp.gate_proj", [mlp, hidden], hasMlpBias),
    ...projection("mlp.up_proj", [mlp, hidden], hasMlpBias),
    ...projection("mlp.down_proj", [hidden, mlp], hasMlpBias),
    ...norm(mlpOutput),
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
 * Picks the weights of a model, after checking that all are there and that no other tensor would change the result.
 *
 * Weights of layers after the last, of other parts of a larger model, rotary tables, and tensors that cannot be weights
 * (of whole numbers or of no elements) are left out.
 *
 * @returns The weights alone; disposing them disposes the source.
 * @throws {RequirementError} If a weight has another shape.
 * @throws {DataError} If a weight is missing or of an unknown type, or the forward pass would ignore one.
 */
export function selectWeights(
  label: string,
  { config, source }: { readonly config: ModelConfig; readonly source: TensorSource },
): TensorSource {
  const shapes = weightShapes(config);
  const tensors = new Map<string, TensorInfo>();
  for (const [name, shape] of shapes) {
    tensors.set(name, checkWeight(label, { name, shape, source }));
  }
  for (const info of source.tensors.values()) {
    const { name } = info;
    if (shapes.has(name) || isHarmless(info) || !isOfModel(name, config)) continue;
    throw new DataError(
      `Cannot load ${label}: there must be no tensor "${
        name.slice(0, 100)
      }", which the configuration does not announce: current file is ${source.description}`,
    );
  }
  return {
    description: source.description,
    tensors,
    readRows: (name, first, count) => source.readRows(name, first, count),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}

function isHarmless({ name, type, shape }: TensorInfo): boolean {
  return HARMLESS.test(name) || WHOLE_NUMBERS.test(type) || shape.includes(0);
}

function checkWeight(
  label: string,
  { name, shape, source }: {
    readonly name: string;
    readonly shape: readonly number[];
    readonly source: TensorSource;
  },
): TensorInfo {
  const info = source.tensors.get(name);
  const required = `tensor "${name}" must be [${shape.join(", ")}]`;
  if (info === undefined) {
    throw new DataError(
      `Cannot load ${label}: ${required}: current value is missing in ${source.description}`,
    );
  }
  if (info.fault) throw info.fault;
  const isSame = info.shape.length === shape.length &&
    info.shape.every((length, axis) => length === shape[axis]);
  if (!isSame) {
    throw new RequirementError({
      action: `load ${label}`,
      requirement: required,
      state: `shape is [${info.shape.join(", ")}]`,
    });
  }
  if (isReadable(info.type)) return info;
  const known = Object.keys(TENSOR_TYPES).join(", ");
  throw new DataError(
    `Cannot load ${label}: tensor "${name}" must have one of the types ${known}: current value is ${info.type}`,
  );
}

function isOfModel(name: string, { layers, isTied }: ModelConfig): boolean {
  if (isTied && name === "lm_head.weight") return false;
  const layer = /^model\.layers\.(\d+)\./.exec(name)?.[1];
  if (layer !== undefined) return Number(layer) < layers;
  return /^(model\.(norm|embed_tokens)|lm_head|rope_factors_long|rope_factors_short)\./.test(name);
}
