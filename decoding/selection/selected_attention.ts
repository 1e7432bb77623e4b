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

/** Turned keys of one layer at a time. */
export interface TurnedKeys extends Disposable {
  /** As the largest layer's keys in the store, in their rows. */
  readonly keys: DeviceBuffer;
  /** 1 for each sequence whose positions are those of slots, u32 [sequences]. */
  readonly counted: DeviceBuffer;
  /** Bytes of the keys. */
  readonly byteLength: number;
}

/**
 * Makes room for turned keys, if a sequence of a batch wants any.
 *
 * @param step Large model on its store, the sequences.
 * @returns The room; nothing where all positions are original.
 * @throws {RangeError} If each query head selects alone: heads that share keys would turn them differently.
 * @throws {GpuError} If the device has too little memory.
 */
export function createTurnedKeys(
  { forward: { device, cache }, lanes: { lanes, granularity } }: Pick<
    PolicyStep,
    "forward" | "lanes"
  >,
): TurnedKeys | undefined {
  const counted = Uint32Array.from(lanes, ({ policy }) => policy.positions === "slot" ? 1 : 0);
  if (!counted.includes(1)) return undefined;
  if (granularity === "query_head") {
    throw new RangeError(
      "Cannot take slots for positions: granularity must be kv_head, kv_match or layer: current value is query_head",
    );
  }
  using stack = new DisposableStack();
  const byteLength = Math.max(...cache.layers.map(({ keys }) => keys.byteLength));
  const keys = stack.use(device.createBuffer("turned keys of a layer", byteLength));
  const flags = stack.use(device.createBuffer("sequences with turned keys", counted.byteLength));
  device.write(flags, 0, counted);
  const owned = stack.move();
  return { keys, counted: flags, byteLength, [Symbol.dispose]: () => owned.dispose() };
}

/**
 * Turns the listed keys of a layer; those of sequences with original positions are copied.
 *
 * @param step Large model on its store, buffers and sizes of the policies.
 * @param turned Where they go.
 * @param layer The layer.
 * @returns Commands after the layer's keys are written and before its attention.
 */
function turnStep(
  { forward, buffers, shape }: Pick<PolicyStep, "forward" | "buffers" | "shape">,
  turned: TurnedKeys,
  layer: number,
): Command[] {
  const { workspace: { state }, cache, config: { headDim } } = forward;
  const { units, listWords, sequences } = shape;
  return [rerotateKeysCommand({
    state,
    counted: turned.counted,
    lists: buffers.lists,
    rotation: layerRotation(forward, layer),
    keys: cache.layers[layer]!.keys,
    rerotated: turned.keys,
  }, {
    headDim,
    keyFormat: cache.shape.keyFormat,
    sequences,
    unitsPerLayer: units.perLayer,
    unitOffset: layer * units.perLayer,
    units: units.total,
    unitHeads: units.heads,
    listWords,
  })];
}
