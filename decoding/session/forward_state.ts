/**
 * Allocates what the steps of a session read and write.
 *
 * @module
 */

import { cacheFormats, createFullCache, ringsOf } from "../../cache/full_cache.ts";
import type { ForwardState } from "../../models/forward/forward.ts";
import { createTaps } from "../../models/forward/taps.ts";
import { createWorkspace } from "../../models/forward/workspace.ts";
import { layerWindows } from "../../models/layer_windows.ts";
import type { Model } from "../../models/load.ts";
import { rotationTable } from "../../models/rotation.ts";
import { LOGIT_ROWS } from "./prompt_chunk.ts";
import type { SessionOptions } from "./session_options.ts";

/**
 * Allocates cache and activations.
 *
 * @param model Model to run.
 * @param options Sizes and extras; the chunk is at most the capacity.
 * @param owner Frees all of it.
 * @throws {GpuError} If the device has too little memory.
 */
export function createForwardState(
  { config, device, weights }: Model,
  options: SessionOptions & { readonly chunk: number },
  owner: DisposableStack,
): ForwardState {
  const { capacity, chunk, sequences = 1, accumulate = false, masked = false } = options;
  const table = rotationTable(config, capacity);
  const formats = options.isExact
    ? { keyFormat: "f32", valueFormat: "f32" } as const
    : cacheFormats(options.cacheBits);
  const rings = options.holdsAll
    ? undefined
    : ringsOf(layerWindows(config), { capacity, rows: chunk });
  const isLastKeysOnly = options.isAttentionOnly ?? false;
  const sizes = { ...config, capacity, sequences, isLastKeysOnly };
  const shape = { ...sizes, ...formats, ...(rings && { rings }) };
  const workspace = {
    rows: Math.max(chunk, sequences),
    logitRows: Math.max(LOGIT_ROWS, sequences),
    sequences,
    capacity,
  };
  const state = {
    device,
    config,
    weights,
    cache: owner.use(createFullCache(device, shape)),
    workspace: owner.use(createWorkspace(
      device,
      config,
      workspace,
      options.activations?.take(device, config, workspace),
    )),
    taps: owner.use(createTaps(device, config, { capacity, sequences, accumulate, masked })),
    rotation: owner.use(device.createBuffer("rotation table", table.byteLength)),
    ...(!options.isExact && { keyCenters: weights.layers.map(({ keyCenter }) => keyCenter) }),
  };
  device.write(state.rotation, 0, table);
  return state;
}
