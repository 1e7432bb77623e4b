/**
 * Caches with known content: every key and value follows from its place and token, so that any copy can be checked.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import {
  type CacheShape,
  createFullCache,
  type FullCache,
  layerSlots,
} from "../../cache/full_cache.ts";
import { headIndex, type KvStore, type StepRows } from "../../cache/kv_store.ts";
import type { Selection } from "../../cache/policy.ts";
import type { Device } from "../../gpu/device.ts";

/** The word that every word of a token's key (0) or value (1) is derived from. */
function original(
  place: { readonly sequence: number; readonly layer: number; readonly kvHead: number },
  kind: number,
  token: number,
): number {
  const head = headIndex({ layers: 97, kvHeads: 89 }, place);
  return (Math.imul(head * 2 + kind, 0x9e3779b1) ^ Math.imul(token + 1, 0x85ebca6b)) >>> 0;
}

function vector(words: number, seed: number): Uint32Array<ArrayBuffer> {
  return Uint32Array.from({ length: words }, (_, word) => Math.imul(seed + word, 0xc2b2ae35));
}

/** A cache with known content after the prompt of each sequence. */
export function filledCache(
  device: Device,
  shape: CacheShape,
  lengths: readonly number[],
): FullCache {
  const cache = createFullCache(device, shape);
  const rowWords = shape.headDim / 2;
  for (const [layer, { keys, values }] of cache.layers.entries()) {
    const slots = layerSlots(shape, layer);
    for (const [kind, buffer] of [keys, values].entries()) {
      const words = new Uint32Array(buffer.byteLength / 4);
      lengths.forEach((length, sequence) => {
        for (let kvHead = 0; kvHead < shape.kvHeads; kvHead++) {
          for (let token = Math.max(0, length - slots); token < length; token++) {
            const row = (sequence * shape.kvHeads + kvHead) * slots + token % slots;
            const seed = original({ sequence, layer, kvHead }, kind, token);
            words.set(vector(rowWords, seed), row * rowWords);
          }
        }
      });
      device.write(buffer, 0, words);
    }
  }
  return cache;
}

/** Writes the newest token of every sequence where the store expects it, as `rope_cache` does. */
export function writeNewest(device: Device, store: KvStore, newest: readonly number[]): void {
  const { kvHeads, headDim } = store.shape;
  const rowWords = headDim / 2;
  for (const [layer, { keys, values }] of store.layers.entries()) {
    const { fullSlots, writeSlot } = store.slots(layer);
    newest.forEach((token, sequence) => {
      for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
        const row = (sequence * kvHeads + kvHead) * fullSlots + (writeSlot ?? token % fullSlots);
        for (const [kind, buffer] of [keys, values].entries()) {
          const seed = original({ sequence, layer, kvHead }, kind, token);
          device.write(buffer, 4 * row * rowWords, vector(rowWords, seed));
        }
      }
    });
  }
}

/** Compares every row of a plan with the original. */
export async function checkRows(
  device: Device,
  store: KvStore,
  plan: { readonly selections: readonly Selection[]; readonly rows: StepRows["rows"] },
): Promise<void> {
  const { sequences, layers, kvHeads, headDim } = store.shape;
  const rowWords = headDim / 2;
  for (let layer = 0; layer < layers; layer++) {
    const keys = new Uint32Array(await device.read(store.layers[layer]!.keys));
    const values = new Uint32Array(await device.read(store.layers[layer]!.values));
    for (let head = 0; head < sequences * kvHeads; head++) {
      const place = { sequence: Math.floor(head / kvHeads), layer, kvHead: head % kvHeads };
      const index = headIndex(store.shape, place);
      const { full, valueOnly } = plan.selections[index]!;
      const rows = plan.rows[index]!;
      const same = (words: Uint32Array, row: number, seed: number) =>
        assertEquals(
          words.subarray(row * rowWords, (row + 1) * rowWords),
          vector(rowWords, seed),
          `row ${row} of ${JSON.stringify(place)}`,
        );
      full.forEach((token, i) => {
        same(keys, rows.full[i]!, original(place, 0, token));
        same(values, rows.full[i]!, original(place, 1, token));
      });
      valueOnly.forEach((token, i) => same(values, rows.valueOnly[i]!, original(place, 1, token)));
    }
  }
}
