/**
 * The two halves of a decode step under a policy: what the helper attends to, and attention to selected tokens.
 *
 * @module
 */

import type { ResolvedPolicy } from "../cache/policy_options.ts";
import { COMBINES, REDUCTIONS } from "../cache/policy_options.ts";
import type { Command, Device, DeviceBuffer, Recording } from "../gpu/device.ts";
import { attentionRowsCommand } from "../kernels/attention_rows.ts";
import { helperSaliencyCommand } from "../kernels/helper_saliency.ts";
import { scatterScoresCommand } from "../kernels/scatter_scores.ts";
import { selectedAttentionCommand } from "../kernels/selected_attention.ts";
import { updateScoresCommand } from "../kernels/update_scores.ts";
import { attentionShape, type ForwardState } from "../models/forward.ts";
import { argmaxStep, embeddingStep, layerStep, logitsStep } from "../models/transformer.ts";
import type { ListShape } from "./selection_lists.ts";

/** Buffers that a policy adds to those of its two models. */
export interface PolicyBuffers extends Disposable {
  /** Kept and marginal tokens, u32 [sequences, units, listWords]. */
  readonly lists: DeviceBuffer;
  /** Matched flat small head of each flat large head, u32 [sequences, layers * queryHeads]. */
  readonly match: DeviceBuffer;
  /** The helper's newest rows, f32 [sequences, smallHeads, capacity]; one word without a helper. */
  readonly rows: DeviceBuffer;
  /** What the helper's heads remember, as `rows`. */
  readonly scores: DeviceBuffer;
  /** Scores of each selection, f32 [sequences, units, capacity]. */
  readonly saliency: DeviceBuffer;
  /** Softmax over kept tokens of one layer, f32 [sequences, queryHeads, capacity]; one word if not needed. */
  readonly weights: DeviceBuffer;
}

/** Sizes of the buffers of a policy. */
export interface PolicyShape extends ListShape {
  /** Sequences held side by side. */
  readonly sequences: number;
  /** Tokens that fit per sequence. */
  readonly capacity: number;
  /** Query heads of the large model. */
  readonly heads: number;
  /** Query heads of the small model; 0 without one. */
  readonly helperHeads: number;
  /** Query heads of one layer of the large model whose softmax is wanted; 0 if it is not. */
  readonly weightHeads: number;
}

/**
 * Allocates the buffers of a policy.
 *
 * @param device Where they live.
 * @param shape Sizes.
 * @returns Buffers of zeros.
 */
export function createPolicyBuffers(device: Device, shape: PolicyShape): PolicyBuffers {
  using stack = new DisposableStack();
  const { sequences, capacity, units, listWords, helperHeads, weightHeads } = shape;
  const words = (label: string, count: number) =>
    stack.use(device.createBuffer(label, 4 * Math.max(1, count * sequences)));
  const buffers = {
    lists: words("kept tokens", units.total * listWords),
    match: words("matched heads", shape.heads),
    rows: words("helper rows", helperHeads * capacity),
    scores: words("helper scores", helperHeads * capacity),
    saliency: words("saliency", units.total * capacity),
    weights: words("softmax over kept tokens", weightHeads * capacity),
  };
  const owned = stack.move();
  return { ...buffers, [Symbol.dispose]: () => owned.dispose() };
}

/** A model in a policy's step. */
export interface PolicyStep {
  /** Model and buffers. */
  readonly forward: ForwardState;
  /** Buffers of the policy. */
  readonly buffers: PolicyBuffers;
  /** Sizes of the policy. */
  readonly shape: PolicyShape;
  /** The policy. */
  readonly policy: ResolvedPolicy;
}

/**
 * Records the small model's step: its own cache grows, and the newest attention row of every head is kept.
 *
 * No logits are computed: the small model only watches.
 *
 * @param step Small model and buffers.
 * @param large Model whose tokens it reads and whose selections it scores.
 * @returns The recording; its last commands write `saliency`.
 */
export async function recordSmallStep(step: PolicyStep, large: ForwardState): Promise<Recording> {
  const { forward, buffers, shape, policy } = step;
  const { device, config, workspace } = forward;
  const rowShape = { sequences: shape.sequences, rowsPerSequence: 1 };
  const { state } = workspace;
  const commands: Command[] = [
    {
      source: large.workspace.tokens,
      sourceOffset: 0,
      target: workspace.tokens,
      targetOffset: 0,
      byteLength: workspace.tokens.byteLength,
    },
    ...embeddingStep(forward, rowShape),
  ];
  for (let layer = 0; layer < config.layers; layer++) {
    commands.push(...layerStep(forward, rowShape, {
      layer,
      watch: [attentionRowsCommand(device.info, {
        shape: attentionShape(forward, rowShape),
        heads: { offset: layer * config.queryHeads, total: shape.helperHeads },
        buffers: {
          state,
          qkv: workspace.queryKeyValue,
          keys: forward.cache.layers[layer]!.keys,
          log_sum: workspace.logSum,
          rows: buffers.rows,
        },
      })],
    }));
  }
  const sizes = { sequences: shape.sequences, heads: shape.helperHeads, capacity: shape.capacity };
  commands.push(
    updateScoresCommand({ state, rows: buffers.rows, scores: buffers.scores }, {
      ...sizes,
      decay: decayOf(policy),
    }),
    helperSaliencyCommand(
      { state, scores: buffers.scores, match: buffers.match, saliency: buffers.saliency },
      {
        ...sizes,
        units: shape.units.total,
        unitHeads: shape.units.heads,
        reduction: REDUCTIONS.indexOf(policy.reduction),
      },
    ),
  );
  return await device.record("small model's step", commands);
}

/**
 * Records the large model's step with attention to selected tokens, up to the choice of the next token.
 *
 * @param step Large model and buffers.
 * @returns The recording.
 */
export async function recordLargeStep(step: PolicyStep): Promise<Recording> {
  const { forward, shape } = step;
  const { device, config } = forward;
  const rowShape = { sequences: shape.sequences, rowsPerSequence: 1 };
  const isFull = step.policy.name === "full";
  const layers = Array.from(
    { length: config.layers },
    (_, layer) =>
      layerStep(forward, rowShape, {
        layer,
        ...(!isFull && { attention: selectedStep(step, layer) }),
      }),
  );
  return await device.record("large model's step", [
    ...embeddingStep(forward, rowShape),
    ...layers.flat(),
    ...logitsStep(forward, { rows: shape.sequences, rowStep: 1, rowOffset: 0 }),
    ...argmaxStep(forward, rowShape),
  ]);
}

/** Factor on older rows of the helper's scores at each step. */
export function decayOf({ score, decay }: ResolvedPolicy): number {
  return score === "accumulated" ? 1 : score === "row" ? 0 : decay;
}

/** Attention of one layer to the listed tokens; an own-attention policy also keeps its softmax. */
function selectedStep({ forward, buffers, shape, policy }: PolicyStep, layer: number): Command[] {
  const { device, workspace, cache } = forward;
  const rowShape = { sequences: shape.sequences, rowsPerSequence: 1 };
  const hasWeights = shape.weightHeads > 0;
  const commands = [selectedAttentionCommand(device.info, {
    shape: attentionShape(forward, rowShape),
    selection: {
      unitsPerLayer: shape.units.perLayer,
      unitOffset: layer * shape.units.perLayer,
      units: shape.units.total,
      listWords: shape.listWords,
      helperHeads: Math.max(1, shape.helperHeads),
      combine: COMBINES.indexOf(policy.combine),
      hasWeights,
      weightStride: shape.capacity,
    },
    buffers: {
      state: workspace.state,
      qkv: workspace.queryKeyValue,
      ...cache.layers[layer]!,
      lists: buffers.lists,
      helper: buffers.rows,
      output: workspace.heads,
      weights: buffers.weights,
    },
  })];
  if (hasWeights) {
    commands.push(scatterScoresCommand({
      lists: buffers.lists,
      weights: buffers.weights,
      own: buffers.saliency,
    }, {
      sequences: shape.sequences,
      unitsPerLayer: shape.units.perLayer,
      unitOffset: layer * shape.units.perLayer,
      units: shape.units.total,
      unitHeads: shape.units.heads,
      listWords: shape.listWords,
      capacity: shape.capacity,
      weightStride: shape.capacity,
      isSum: false,
    }));
  }
  return commands;
}
