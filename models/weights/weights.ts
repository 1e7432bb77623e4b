/**
 * All weights of a decoder-only transformer on a device.
 *
 * @module
 */

import type { Device, DeviceBuffer } from "../../gpu/device.ts";
import type { ModelConfig } from "../config.ts";
import { blockNormNames } from "./block_norms.ts";
import { createKeyCenter, type KeyCenter, keyCenter } from "./key_centers.ts";
import { loadVector, loadWeight, type PackedWeight, readVector } from "./packed_weight.ts";
import type { TensorSource } from "./tensor_source.ts";

/** A linear map whose output starts at a column of a wider row. */
export interface Projection {
  /** Its matrix, [outputs, inputs]; several matrices of one format may be joined. */
  readonly weight: PackedWeight;
  /** What is added to the product, [outputs]. */
  readonly bias?: DeviceBuffer;
  /** First column of the output row. */
  readonly outputOffset: number;
}

/** Weights of one layer. */
export interface LayerWeights {
  /** Scale of the norm before attention, [hidden]; absent where there is none. */
  readonly attentionNorm?: DeviceBuffer;
  /** Projections to queries, keys and values; their outputs lie side by side in that order. */
  readonly queryKeyValue: readonly Projection[];
  /** What is subtracted from keys before they are rounded to 16 bits; absent where they are stored as they are. */
  readonly keyCenter?: KeyCenter;
  /** Scale of the norm of each query head, [headDim], or of all of them, [queryHeads * headDim]; absent where there is none. */
  readonly queryNorm?: DeviceBuffer;
  /** Scale of the norm of each key head, [headDim], or of all of them, [kvHeads * headDim]; absent where there is none. */
  readonly keyNorm?: DeviceBuffer;
  /** Logit of each query head's sink, [queryHeads]; only in layers whose attention has sinks. */
  readonly sinks?: DeviceBuffer;
  /** Projection of the heads' outputs back to the hidden size. */
  readonly output: readonly Projection[];
  /** Scale of the norm on what attention adds to the residual stream, [hidden]; absent where there is none. */
  readonly attentionOutputNorm?: DeviceBuffer;
  /** Scale of the norm before the MLP, [hidden]; absent where there is none. */
  readonly mlpNorm?: DeviceBuffer;
  /** Gate and up projections, side by side. */
  readonly gateUp: readonly Projection[];
  /** Projection of the MLP back to the hidden size. */
  readonly down: readonly Projection[];
  /** Scale of the norm on what the MLP adds to the residual stream, [hidden]; absent where there is none. */
  readonly mlpOutputNorm?: DeviceBuffer;
}

/** Weights of a model; freed together. */
export interface ModelWeights extends Disposable {
  /** One row per token id, [vocabulary, hidden]. */
  readonly embedding: PackedWeight;
  /** One entry per layer. */
  readonly layers: readonly LayerWeights[];
  /** Scale of the last norm, [hidden]. */
  readonly finalNorm: DeviceBuffer;
  /** Projection to logits; the embedding itself if the model ties them. */
  readonly head: readonly Projection[];
  /** Bytes on the device. */
  readonly byteLength: number;
  /** Whether they have been freed. */
  isFreed(): boolean;
}

/** Where weights come from and go to. */
export interface WeightLoading {
  /** Tensors of the model. */
  readonly source: TensorSource;
  /** Its sizes. */
  readonly config: ModelConfig;
  /** Where the weights go. */
  readonly device: Device;
}

/**
 * Loads every weight in pieces, so that host memory stays small.
 *
 * @param onLayer Called with the number of layers done so far.
 * @returns The weights; nothing stays allocated if loading fails.
 * @throws {GpuError} If the device has too little memory.
 * @throws {DataError} If a weight is missing or not finite.
 */
export async function loadWeights(
  loading: WeightLoading,
  onLayer: (done: number) => void = () => {},
): Promise<ModelWeights> {
  const { source, config, device } = loading;
  using stack = new DisposableStack();
  const loader: Loader = { ...loading, stack };
  const before = device.usage.liveBytes;
  const embedding = stack.use(await loadWeight(device, source, ["model.embed_tokens.weight"]));
  const layers: LayerWeights[] = [];
  for (let layer = 0; layer < config.layers; layer++) {
    layers.push(await loadLayer(loader, layer));
    onLayer(layer + 1);
  }
  const finalNorm = await norm(loader, "model.norm.weight");
  const head = config.isTied
    ? [{ weight: embedding, outputOffset: 0 }]
    : await projections(loader, ["lm_head"]);
  const owned = stack.move();
  return {
    embedding,
    layers,
    finalNorm,
    head,
    byteLength: device.usage.liveBytes - before,
    isFreed: () => owned.disposed,
    [Symbol.dispose]: () => owned.dispose(),
  };
}

interface Loader extends WeightLoading {
  /** Frees what was loaded if a later weight fails. */
  readonly stack: DisposableStack;
}

async function loadLayer(loader: Loader, layer: number): Promise<LayerWeights> {
  const prefix = `model.layers.${layer}`;
  const attention = `${prefix}.self_attn`;
  const heads = ["q_proj", "k_proj", "v_proj"].map((name) => `${attention}.${name}`);
  const norms = await loadNorms(loader, prefix);
  return {
    ...norms,
    queryKeyValue: await projections(loader, heads),
    ...await loadKeyCenter(loader, layer, `${attention}.k_proj.bias`),
    ...(loader.config.hasQkNorm && {
      queryNorm: await norm(loader, `${attention}.q_norm.weight`),
      keyNorm: await norm(loader, `${attention}.k_norm.weight`),
    }),
    ...(loader.config.layerAttention?.[layer]?.hasSinks && {
      sinks: await vector(loader, `${attention}.sinks`),
    }),
    output: await projections(loader, [`${attention}.o_proj`]),
    gateUp: await projections(loader, [`${prefix}.mlp.gate_proj`, `${prefix}.mlp.up_proj`]),
    down: await projections(loader, [`${prefix}.mlp.down_proj`]),
  };
}

/** The center of a layer's keys, which follows from their bias. */
async function loadKeyCenter(
  { device, source, config, stack }: Loader,
  layer: number,
  name: string,
): Promise<Pick<LayerWeights, "keyCenter">> {
  if (!source.tensors.has(name)) return {};
  const values = keyCenter(config, layer, await readVector(source, [name]));
  if (values === undefined) return {};
  const center = createKeyCenter(device, values);
  stack.use(center.buffer);
  return { keyCenter: center };
}

async function loadNorms(
  loader: Loader,
  prefix: string,
): Promise<
  Pick<LayerWeights, "attentionNorm" | "attentionOutputNorm" | "mlpNorm" | "mlpOutputNorm">
> {
  const { attention, attentionOutput, mlp, mlpOutput } = blockNormNames(loader.config);
  const load = (name: string) => norm(loader, `${prefix}.${name}`);
  return {
    ...(attention && { attentionNorm: await load(attention) }),
    ...(attentionOutput && { attentionOutputNorm: await load(attentionOutput) }),
    ...(mlp && { mlpNorm: await load(mlp) }),
    ...(mlpOutput && { mlpOutputNorm: await load(mlpOutput) }),
  };
}

async function norm(
  { device, source, stack, config }: Loader,
  name: string,
): Promise<DeviceBuffer> {
  return stack.use(await loadVector(device, source, [name], config.normOffset));
}

async function vector({ device, source, stack }: Loader, name: string): Promise<DeviceBuffer> {
  return stack.use(await loadVector(device, source, [name]));
}

/** Loads maps of one input whose outputs lie side by side, joining neighbors that are stored in the same format. */
async function projections(loader: Loader, names: readonly string[]): Promise<Projection[]> {
  const { device, source, stack } = loader;
  const loaded: Projection[] = [];
  let outputOffset = 0;
  for (const group of neighbors(source, names)) {
    const weight = stack.use(
      await loadWeight(device, source, group.map((name) => `${name}.weight`)),
    );
    const biases = group.map((name) => `${name}.bias`).filter((name) => source.tensors.has(name));
    const bias = biases.length > 0
      ? stack.use(await loadVector(device, source, biases))
      : undefined;
    loaded.push({ weight, outputOffset, ...(bias && { bias }) });
    outputOffset += 4 * Math.ceil(weight.rows / 4); // rows are read as vec4s
  }
  return loaded;
}

/** Groups names so that the matrices of a group have one type and either all or none a bias. */
function neighbors(source: TensorSource, names: readonly string[]): string[][] {
  const kind = (name: string) => {
    const { type, shape: [rows = 0] = [] } = source.tensors.get(`${name}.weight`) ?? {};
    return `${type} ${source.tensors.has(`${name}.bias`)} ${rows % 4 === 0 || name}`;
  };
  const groups: string[][] = [];
  for (const name of names) {
    const group = groups.at(-1);
    if (group && kind(group[0]!) === kind(name)) group.push(name);
    else groups.push([name]);
  }
  return groups;
}
