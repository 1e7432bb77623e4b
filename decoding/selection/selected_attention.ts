/**
 * Attention of a layer to the tokens that a policy keeps, and the scores that it gives them.
 *
 * @module
 */

import { RequirementError } from "../../core/check.ts";
import type { Command, DeviceBuffer } from "../../gpu/device.ts";
import { scatterScoresCommand } from "../../kernels/scatter_scores.ts";
import { selectedAttentionCommands } from "../../kernels/selected_attention.ts";
import { attentionShape } from "../../models/forward/forward.ts";
import { type PolicyStep, rankedHeads } from "./buffers.ts";
import { rerotateKeysCommand } from "../../kernels/rerotate_keys.ts";
import { hasScaledQueries, layerRotation } from "../../models/rotation.ts";

/** Rows of one sequence that share its lists, and buffers for their attention. */
export interface SharedRows {
  /** How many. */
  readonly rows: number;
  /** Softmax over kept tokens of one layer, f32 [rows, attentionWords / attentionStride, attentionStride]. */
  readonly attention: DeviceBuffer;
  /** Elements from one head's softmax to the next. */
  readonly attentionStride: number;
  /** Elements from one row's softmax to the next; a multiple of 64. */
  readonly attentionWords: number;
  /** Each row's attention, f32 [rows, largeAttentionWords], whose first elements are [groups, capacity]. */
  readonly largeAttention: DeviceBuffer;
  /** Elements from one row's attention to the next; a multiple of 64. */
  readonly largeAttentionWords: number;
}

/**
 * Attends to the listed tokens in one layer; the softmax is kept for policies that rank by it.
 *
 * @param step Model and buffers.
 * @param layer The layer.
 * @param shared Rows of a block of the only sequence; if left out, one row of every sequence, kept in `largeAttention` of
 *   the policy's buffers.
 * @returns Commands in place of attention to the whole cache.
 */
export function selectedStep(
  step: Omit<PolicyStep, "batch">,
  layer: number,
  shared?: SharedRows,
): Command[] {
  const { forward, buffers, shape, rerotated, ranking, rest } = step;
  const { device, workspace, cache, config: { queryHeads } } = forward;
  const rowShape = { sequences: shape.sequences, rowsPerSequence: shared?.rows ?? 1 };
  const hasAttention = shape.attentionHeads > 0;
  const { groups, listWords } = shape;
  const own = ranking && { rows: ranking.rows, heads: queryHeads };
  const commands = selectedAttentionCommands(device.info, {
    shape: attentionShape(forward, rowShape, layer),
    selection: {
      groupsPerLayer: groups.perLayer,
      groupOffset: layer * groups.perLayer,
      groups: groups.total,
      listWords,
      smallHeads: own?.heads ??
        (shape.hasGroupRows ? groups.total : Math.max(1, rankedHeads(shape))),
      hasAttention,
      attentionStride: shared?.attentionStride ?? shape.capacity,
    },
    buffers: {
      state: workspace.state,
      qkv: workspace.queryKeyValue,
      ...cache.layers[layer]!,
      ...(rerotated && { keys: rerotated.keys }),
      lists: buffers.lists,
      small_attention: own?.rows ?? (shape.hasGroupRows ? buffers.groupRows : buffers.rows),
      output: workspace.heads,
      attention: shared?.attention ?? buffers.attention,
      ...(workspace.partial && { partial: workspace.partial }),
      ...(rest && { rest: rest.means, partial: rest.partial }),
    },
    // Where lists are not split, sums keep the order that they have without the rest.
    ...(!workspace.partial && { splits: 1 }),
  });
  if (hasAttention) commands.push(...scatterCommands(step, layer, shared));
  return [
    ...rerotated ? rerotateStep(step, rerotated, layer) : [],
    ...rest?.commands(step, layer, rowShape.rowsPerSequence) ?? [],
    ...commands,
  ];
}

/** Orders the softmax by position: that of the newest row of every sequence, or of each row of a block. */
function scatterCommands(
  { buffers, shape }: Pick<PolicyStep, "buffers" | "shape">,
  layer: number,
  shared?: SharedRows,
): Command[] {
  const { groups, listWords, capacity, sequences } = shape;
  const sizes = {
    sequences,
    groupsPerLayer: groups.perLayer,
    groupOffset: layer * groups.perLayer,
    groups: groups.total,
    groupHeads: groups.heads,
    listWords,
    capacity,
    attentionStride: shared?.attentionStride ?? capacity,
    isSum: false,
  };
  const { lists } = buffers;
  if (!shared) {
    const { attention, largeAttention: large_scores } = buffers;
    return [scatterScoresCommand({ lists, attention, large_scores }, sizes)];
  }
  const { rows, attention, attentionWords, largeAttention, largeAttentionWords } = shared;
  const part = (buffer: DeviceBuffer, words: number, row: number) => ({
    buffer,
    byteOffset: 4 * words * row,
    byteLength: 4 * words,
  });
  return Array.from({ length: rows }, (_, row) =>
    scatterScoresCommand({
      lists,
      attention: part(attention, attentionWords, row),
      large_scores: part(largeAttention, largeAttentionWords, row),
    }, sizes));
}

/** Rerotated keys of one layer at a time. */
export interface RerotatedKeys extends Disposable {
  /** Room for the keys of the store's largest layer, in the same rows. */
  readonly keys: DeviceBuffer;
  /** 1 for each sequence whose positions are slots, u32 [sequences]. */
  readonly counted: DeviceBuffer;
  /** Bytes of the keys. */
  readonly byteLength: number;
}

/**
 * Makes room for rerotated keys; nothing if all positions are original.
 *
 * @throws {RequirementError} If each query head selects alone: heads that share keys would rotate them differently.
 * @throws {RequirementError} If the model scales queries by their place in the text, which is then not their position.
 * @throws {GpuError} If the device has too little memory.
 */
export function createRerotatedKeys(
  { forward: { device, cache, config }, batch: { settings, granularity } }: Pick<
    PolicyStep,
    "forward" | "batch"
  >,
): RerotatedKeys | undefined {
  const counted = Uint32Array.from(settings, ({ policy }) => policy.positions === "slot" ? 1 : 0);
  if (!counted.includes(1)) return undefined;
  if (granularity === "query_head") {
    throw new RequirementError({
      action: "take slots for positions",
      requirement: "granularity must be kv_head, kv_match or layer",
      current: "query_head",
    });
  }
  if (hasScaledQueries(config, cache.shape.capacity)) {
    throw new RequirementError({
      action: "take slots for positions",
      requirement: "the capacity must be at most " +
        `${
          config.queryScaling!.contextLength
        } tokens, since the model scales later queries by their place in the text`,
      current: cache.shape.capacity,
    });
  }
  using stack = new DisposableStack();
  const byteLength = Math.max(...cache.layers.map(({ keys }) => keys.byteLength));
  const keys = stack.use(device.createBuffer("rerotated keys of a layer", byteLength));
  const flags = stack.use(device.createBuffer("sequences with rerotated keys", counted.byteLength));
  device.write(flags, 0, counted);
  const owned = stack.move();
  return { keys, counted: flags, byteLength, [Symbol.dispose]: () => owned.dispose() };
}

/**
 * Rotates the listed keys of a layer to the positions of their slots, after they are written and before attention; those
 * of sequences with original positions are copied.
 */
function rerotateStep(
  { forward, buffers, shape }: Pick<PolicyStep, "forward" | "buffers" | "shape">,
  rerotated: RerotatedKeys,
  layer: number,
): Command[] {
  const { workspace: { state }, cache, config: { headDim } } = forward;
  const { groups, listWords, sequences } = shape;
  const center = forward.keyCenters?.[layer]?.buffer;
  return [rerotateKeysCommand({
    state,
    counted: rerotated.counted,
    lists: buffers.lists,
    rotation: layerRotation(forward, layer),
    keys: cache.layers[layer]!.keys,
    ...(center && { center }),
    rerotated: rerotated.keys,
  }, {
    headDim,
    keyFormat: cache.shape.keyFormat,
    sequences,
    groupsPerLayer: groups.perLayer,
    groupOffset: layer * groups.perLayer,
    groups: groups.total,
    groupHeads: groups.heads,
    listWords,
  })];
}
