/**
 * Device bytes of a large model's cache before, while and after it moves to a tiered store, from the buffers that exist.
 *
 * @module
 */

import { createFullCache } from "../cache/full_cache.ts";
import { createPolicy } from "../cache/policy_options.ts";
import { poolSizes } from "../cache/tiered_pools.ts";
import { TieredStore } from "../cache/tiered_store.ts";
import { openDevice } from "../gpu/open_device.ts";
import type { ModelConfig } from "../models/config.ts";
import type { StepSizes } from "./policy_step_setup.ts";

/** Bytes on the device. */
export interface CacheMemory {
  /** The full cache, as it is after the prompt. */
  readonly fullBytes: number;
  /** One layer of it. */
  readonly layerBytes: number;
  /** The most that there was during the move. */
  readonly peakBytes: number;
  /** The pools. */
  readonly poolBytes: number;
  /** The pools with what carries tokens to them and back. */
  readonly heldBytes: number;
}

/**
 * Moves a cache of a model's size, on a device of its own.
 *
 * @param config Sizes of the large model.
 * @param sizes Tokens and budget.
 * @returns Bytes.
 */
export async function measureMemory(
  { layers, kvHeads, headDim }: ModelConfig,
  { tokens, ratio }: StepSizes,
): Promise<CacheMemory> {
  using device = await openDevice();
  const shape = { layers, kvHeads, headDim, capacity: tokens, sequences: 1 };
  const request = { budget: { ratio }, promptTokens: tokens, capacity: tokens, layers };
  const pools = poolSizes(createPolicy("smallkv"), request);
  const fullCache = createFullCache(device, shape);
  const fullBytes = device.usage.liveBytes;
  using store = await TieredStore.create(device, {
    fullCache,
    lengths: [tokens - 1],
    pools: (layer) => pools[layer]!,
    isPermanent: false,
  });
  const { peakBytes, liveBytes } = device.usage;
  const poolBytes = store.byteLength;
  return { fullBytes, layerBytes: fullBytes / layers, peakBytes, poolBytes, heldBytes: liveBytes };
}

/**
 * Puts bytes beside the bar: 21 % of the full cache and one layer after the prompt.
 *
 * @param memory What was measured.
 * @returns Lines of text.
 */
export function memoryText({ fullBytes, layerBytes, ...memory }: CacheMemory): string {
  const share = (bytes: number) => `${(100 * bytes / fullBytes).toFixed(2)} %`;
  const beyond = (bytes: number) => ((bytes - fullBytes) / layerBytes).toFixed(2);
  const limit = 0.21 * fullBytes + layerBytes;
  return `  cache on the device: full ${fullBytes} bytes; pools ${
    share(memory.poolBytes)
  } of it, ` +
    `with upload and readback ${share(memory.heldBytes)} (21 % and one layer are ${
      share(limit)
    })\n` +
    `    while it moves, layer by layer: full and ${beyond(memory.peakBytes)} layers`;
}
