/**
 * Attention of a layer to the tokens that a policy keeps, and what it says of them.
 *
 * @module
 */

import type { Command, DeviceBuffer } from "../../gpu/device.ts";
import { scatterScoresCommand } from "../../kernels/scatter_scores.ts";
import { selectedAttentionCommands } from "../../kernels/selected_attention.ts";
import { attentionShape } from "../../models/forward/forward.ts";
import type { PolicyStep } from "./policy_steps.ts";
import { turnStep } from "./turned_keys.ts";

/** Rows of one sequence that share its lists, and what is kept of their attention. */
export interface SharedRows {
  /** How many. */
  readonly rows: number;
  /** Softmax over kept tokens of one layer, f32 [rows, weightWords / weightStride, weightStride]. */
  readonly weights: DeviceBuffer;
  /** Elements from one head's softmax to the next. */
  readonly weightStride: number;
  /** Elements from one row's softmax to the next; a multiple of 64. */
  readonly weightWords: number;
  /** Each row's attention, f32 [rows, ownWords], whose first elements are [units, capacity]. */
  readonly own: DeviceBuffer;
  /** Elements from one row's attention to the next; a multiple of 64. */
  readonly ownWords: number;
}

/**
 * Attends to the listed tokens in one layer; for policies that rank by it, its softmax is kept.
 *
 * @param step Model and buffers.
 * @param layer The layer.
 * @param shared Rows of a block of the only sequence; one row of every sequence, kept in `own` of the policy's buffers,
 *   if left out.
 * @returns Commands in place of attention to the whole cache.
 */
export function selectedStep(
  step: Omit<PolicyStep, "lanes">,
  layer: number,
  shared?: SharedRows,
): Command[] {
  const { forward, buffers, shape, turned } = step;
  const { device, workspace, cache } = forward;
  const rowShape = { sequences: shape.sequences, rowsPerSequence: shared?.rows ?? 1 };
  const hasWeights = shape.weightHeads > 0;
  const { sinks } = forward.weights.layers[layer]!;
  const { units, listWords } = shape;
  const commands = selectedAttentionCommands(device.info, {
    shape: attentionShape(forward, rowShape, layer),
    selection: {
      unitsPerLayer: units.perLayer,
      unitOffset: layer * units.perLayer,
      units: units.total,
      listWords,
      smallHeads: shape.hasGroupRows ? units.total : Math.max(1, shape.helperHeads),
      hasAttention: hasWeights,
      attentionStride: shared?.weightStride ?? shape.capacity,
    },
    buffers: {
      state: workspace.state,
      qkv: workspace.queryKeyValue,
      ...cache.layers[layer]!,
      ...(turned && { keys: turned.keys }),
      lists: buffers.lists,
      small_attention: shape.hasGroupRows ? buffers.groupRows : buffers.rows,
      output: workspace.heads,
      attention: shared?.weights ?? buffers.weights,
      ...(sinks && { sinks }),
      ...(workspace.partial && { partial: workspace.partial }),
    },
  });
  if (hasWeights) commands.push(...scatterCommands(step, layer, shared));
  return turned ? [...turnStep(step, turned, layer), ...commands] : commands;
}

/** Lays the softmax out by position: of the newest row of every sequence, or of each row of a block on its own. */
function scatterCommands(
  { buffers, shape }: Pick<PolicyStep, "buffers" | "shape">,
  layer: number,
  shared?: SharedRows,
): Command[] {
  const { units, listWords, capacity, sequences } = shape;
  const sizes = {
    sequences,
    unitsPerLayer: units.perLayer,
    unitOffset: layer * units.perLayer,
    units: units.total,
    unitHeads: units.heads,
    listWords,
    capacity,
    attentionStride: shared?.weightStride ?? capacity,
    isSum: false,
  };
  const { lists } = buffers;
  if (!shared) {
    const { weights: attention, own: large_scores } = buffers;
    return [scatterScoresCommand({ lists, attention, large_scores }, sizes)];
  }
  const { rows, weights, weightWords, own, ownWords } = shared;
  const part = (buffer: DeviceBuffer, words: number, row: number) => ({
    buffer,
    byteOffset: 4 * words * row,
    byteLength: 4 * words,
  });
  return Array.from({ length: rows }, (_, row) =>
    scatterScoresCommand({
      lists,
      attention: part(weights, weightWords, row),
      large_scores: part(own, ownWords, row),
    }, sizes));
}
