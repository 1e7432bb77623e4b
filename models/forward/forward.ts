/**
 * What a forward pass reads and writes, and how its steps are shaped.
 *
 * @module
 */

import type { FullCache } from "../../cache/full_cache.ts";
import type { Command, Device, DeviceBuffer } from "../../gpu/device.ts";
import type { AttentionShape } from "../../kernels/attention_shape.ts";
import type { ModelConfig } from "../config.ts";
import { rotationFactor } from "../rotation.ts";
import type { KeyCenters } from "../weights/key_centers.ts";
import type { AttentionTaps } from "./taps.ts";
import type { ModelWeights } from "../weights/weights.ts";
import type { Workspace } from "./workspace.ts";

/** Everything a step reads and writes. */
export interface ForwardState {
  /** Where it runs. */
  readonly device: Device;
  /** Sizes of the model. */
  readonly config: ModelConfig;
  /** Weights of the model. */
  readonly weights: ModelWeights;
  /** Activations. */
  readonly workspace: Workspace;
  /** Keys and values. */
  readonly cache: FullCache;
  /** Observers and masks. */
  readonly taps: AttentionTaps;
  /** Cosines and sines per position for each rotation of the model; see `layerRotation`. */
  readonly rotation: DeviceBuffer;
  /** What is subtracted from keys before they are cached; nothing if left out. */
  readonly keyCenters?: KeyCenters;
}

/** How many rows a step has. */
export interface StepShape {
  /** Sequences that take part. */
  readonly sequences: number;
  /** New tokens of each of them. */
  readonly rowsPerSequence: number;
}

/** Where attention maps of a layer go. */
export interface MapTarget {
  /** Query heads, ascending; the map of the k-th one starts at row k * rows of the step. */
  readonly heads: readonly number[];
  /** f32 [heads, rows, stride]. */
  readonly buffer: DeviceBuffer;
  /** Row length. */
  readonly stride: number;
}

/** What a layer's step does beyond, or instead of, causal attention to its whole cache. */
export interface LayerOptions {
  /** Index of the layer. */
  readonly layer: number;
  /** Attention maps to write. */
  readonly maps?: MapTarget;
  /** Commands that replace attention. */
  readonly attention?: readonly Command[];
  /** Commands that look at the layer's queries, keys and log-sum-exp right after attention. */
  readonly observe?: readonly Command[];
  /** Whether the layer's output is needed; if not, it ends after its attention. True if left out. */
  readonly hasOutput?: boolean;
  /** Whether received attention is summed where there is room for sums; true if left out. */
  readonly isSummed?: boolean;
  /** Factor on the attention of each row relative to the next one's where it is summed; 1 if left out. */
  readonly rowDecay?: number;
}

/** Which rows of a step get logits. */
export interface HeadRows {
  /** How many. */
  readonly rows: number;
  /** Distance between two of them. */
  readonly rowStep: number;
  /** The first one. */
  readonly rowOffset: number;
}

/** Sizes and rule of a layer's attention. */
export function attentionShape(
  state: ForwardState,
  step: StepShape,
  layer: number,
): AttentionShape {
  const { config, workspace, cache, taps } = state;
  const { window, softcap } = config.layerAttention?.[layer] ?? {};
  return {
    ...step,
    capacity: cache.shape.capacity,
    stride: workspace.strides.queryKeyValue,
    outputStride: workspace.strides.heads,
    queryHeads: config.queryHeads,
    kvHeads: config.kvHeads,
    headDim: config.headDim,
    keyFormat: cache.shape.keyFormat,
    valueFormat: cache.shape.valueFormat,
    window,
    ring: cache.shape.rings?.[layer],
    softcap,
    sinks: state.weights.layers[layer]!.sinks,
    isMasked: taps.visible !== undefined,
    scale: attentionScale(config, layer),
  };
}

/**
 * Share of a head's elements that are not padding.
 *
 * @returns A number in (0, 1].
 */
export function usedShare({ headDim, fileHeadDim = headDim }: ModelConfig): number {
  return fileHeadDim / headDim;
}

/**
 * Factor on products of queries and keys of a layer, with that of its rotation. A norm over a padded head divides by too small a root, in queries and in keys;
 * the factor corrects this.
 */
export function attentionScale(config: ModelConfig, layer: number): number {
  const { headDim, fileHeadDim = headDim, attentionFactor = fileHeadDim ** -0.5 } = config;
  const norm = config.hasQkNorm ? usedShare(config) : 1;
  return attentionFactor * norm * rotationFactor(config, layer);
}
