/**
 * Keys of kept tokens at the positions of their slots (D-21), turned anew at every step from those in the store.
 *
 * The store keeps keys at their own positions, so that a token that comes back has lost nothing. A prompt, and a further
 * turn that is run on the complete cache, know positions in the text alone; marginal tokens have no key and no position.
 *
 * @module
 */

import type { Command, DeviceBuffer } from "../../gpu/device.ts";
import { rerotateKeysCommand } from "../../kernels/rerotate_keys.ts";
import { layerRotation } from "../../models/forward/rotation.ts";
import type { PolicyStep } from "./policy_steps.ts";

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
export function turnStep(
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
