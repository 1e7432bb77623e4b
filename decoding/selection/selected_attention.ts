/**
 * Attention of a layer to the tokens that a policy keeps, and what it says of them.
 *
 * @module
 */

import type { Command, DeviceBuffer } from "../../gpu/device.ts";
import { scatterScoresCommand } from "../../kernels/scatter_scores.ts";
import { selectedAttentionCommands } from "../../kernels/selected_attention.ts";
import { attentionShape } from "../../models/forward/forward.ts";
import type { PolicyStep } from "./buffers.ts";
import { rerotateKeysCommand } from "../../kernels/rerotate_keys.ts";
import { layerRotation } from "../../models/forward/rotation.ts";

/** Rows of one sequence that share its lists, and what is kept of their attention. */
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
 * Attends to the listed tokens in one layer; for policies that rank by it, its softmax is kept.
 *
 * @param step Model and buffers.
 * @param layer The layer.
 * @param shared Rows of a block of the only sequence; one row of every sequence, kept in `own` of the policy's buffers,
 *   if left out.
 * @returns Commands in place of attention to the whole cache.
 */
export function selectedStep(
  step: Omit<PolicyStep, "settings">,
  layer: number,
  shared?: SharedRows,
): Command[] {
  const { forward, buffers, shape, rerotated } = step;
  const { device, workspace, cache } = forward;
  const rowShape = { sequences: shape.sequences, rowsPerSequence: shared?.rows ?? 1 };
  const hasAttention = shape.attentionHeads > 0;
  const { groups, listWords } = shape;
  const commands = selectedAttentionCommands(device.info, {
    shape: attentionShape(forward, rowShape, layer),
    selection: {
      groupsPerLayer: groups.perLayer,
      groupOffset: layer * groups.perLayer,
      groups: groups.total,
      listWords,
      smallHeads: shape.hasGroupRows ? groups.total : Math.max(1, shape.smallHeads),
      hasAttention: hasAttention,
      attentionStride: shared?.attentionStride ?? shape.capacity,
    },
    buffers: {
      state: workspace.state,
      qkv: workspace.queryKeyValue,
      ...cache.layers[layer]!,
      ...(rerotated && { keys: rerotated.keys }),
      lists: buffers.lists,
      small_attention: shape.hasGroupRows ? buffers.groupRows : buffers.rows,
      output: workspace.heads,
      attention: shared?.attention ?? buffers.attention,
      ...(workspace.partial && { partial: workspace.partial }),
    },
  });
  if (hasAttention) commands.push(...scatterCommands(step, layer, shared));
  return rerotated ? [...rerotateStep(step, rerotated, layer), ...commands] : commands;
}

/** Lays the softmax out by position: of the newest row of every sequence, or of each row of a block on its own. */
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
    const { attention: attention, largeAttention: large_scores } = buffers;
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

/** Turned keys of one layer at a time. */
export interface RerotatedKeys extends Disposable {
  /** As the largest layer's keys in the store, in their rows. */
  readonly keys: DeviceBuffer;
  /** 1 for each sequence whose positions are those of slots, u32 [sequences]. */
  readonly counted: DeviceBuffer;
  /** Bytes of the keys. */
  readonly byteLength: number;
}

/**
 * Makes room for rerotated keys, if a sequence of a batch wants any.
 *
 * @param step Large model on its store, the sequences.
 * @returns The room; nothing where all positions are original.
 * @throws {RangeError} If each query head selects alone: heads that share keys would turn them differently.
 * @throws {GpuError} If the device has too little memory.
 */
export function createRerotatedKeys(
  { forward: { device, cache }, settings: { settings, granularity } }: Pick<
    PolicyStep,
    "forward" | "settings"
  >,
): RerotatedKeys | undefined {
  const counted = Uint32Array.from(settings, ({ policy }) => policy.positions === "slot" ? 1 : 0);
  if (!counted.includes(1)) return undefined;
  if (granularity === "query_head") {
    throw new RangeError(
      "Cannot take slots for positions: granularity must be kv_head, kv_match or layer: current value is query_head",
    );
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
 * Turns the listed keys of a layer; those of sequences with original positions are copied.
 *
 * @param step Large model on its store, buffers and sizes of the policies.
 * @param rerotated Where they go.
 * @param layer The layer.
 * @returns Commands after the layer's keys are written and before its attention.
 */
function rerotateStep(
  { forward, buffers, shape }: Pick<PolicyStep, "forward" | "buffers" | "shape">,
  rerotated: RerotatedKeys,
  layer: number,
): Command[] {
  const { workspace: { state }, cache, config: { headDim } } = forward;
  const { groups, listWords, sequences } = shape;
  return [rerotateKeysCommand({
    state,
    counted: rerotated.counted,
    lists: buffers.lists,
    rotation: layerRotation(forward, layer),
    keys: cache.layers[layer]!.keys,
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
