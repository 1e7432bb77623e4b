/**
 * What a tiered store costs, from the buffers that exist: the formula of docs/method.md, no growth, no large peak.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { type CacheShape, createFullCache, fullCacheBytes } from "../../cache/full_cache.ts";
import type { Selection } from "../../cache/policy.ts";
import { createPolicy } from "../../cache/policy_options.ts";
import { poolSizes } from "../../cache/tiered_pools.ts";
import { TieredStore } from "../../cache/tiered_store.ts";
import type { Device } from "../../gpu/device.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { testBackends } from "../support/gpu.ts";

/** Critical, recent and marginal tokens by hand (docs/method.md, "Budgets and tiers"). */
const GOLDEN = [
  { tokens: 200, ratio: 0.2, tiers: [20, 10, 20] },
  { tokens: 200, ratio: 0.05, tiers: [6, 4, 0] },
  { tokens: 1000, ratio: 0.1, tiers: [50, 25, 50] },
  { tokens: 2048, ratio: 0.2, tiers: [204, 102, 207] },
  { tokens: 8192, ratio: 0.2, tiers: [819, 409, 820] },
] as const;

const policy = createPolicy("smallkv");

/** A store for a policy, with a sequence that has room for one more token. */
async function storeFor(device: Device, shape: CacheShape, ratio: number): Promise<TieredStore> {
  const { capacity, layers } = shape;
  const pools = poolSizes(policy, { budget: { ratio }, promptTokens: capacity, capacity, layers });
  return await TieredStore.create(device, {
    fullCache: createFullCache(device, shape),
    lengths: new Array<number>(shape.sequences).fill(capacity - 1),
    pools: (layer) => pools[layer]!,
    isPermanent: false,
  });
}

for (const backend of testBackends) {
  for (const { tokens, ratio, tiers: [critical, recent, marginal] } of GOLDEN) {
    Deno.test(`TieredStore holds 2 * (c + r) + m vectors of ${tokens} tokens at ${ratio}, ${backend}`, async () => {
      using device = await openDevice({ backend });
      const shape = { layers: 28, kvHeads: 2, headDim: 8, capacity: tokens, sequences: 1 };
      const full = fullCacheBytes(shape);
      const store = await storeFor(device, shape, ratio);
      const formula = 28 * 2 * (2 * (critical + recent) + marginal) * 8 * 2;
      const { liveBytes, peakBytes } = device.usage;
      assertEquals(store.byteLength, formula);
      const oneLayer = full / shape.layers;
      assert(peakBytes <= full + oneLayer, `peak of the change: ${peakBytes} of ${full}`);
      const allowed = Math.max(0.21, ratio + 0.01) * full + oneLayer;
      assert(liveBytes <= allowed, `with upload and readback: ${liveBytes} of ${full}`);
      store[Symbol.dispose]();
      const others = device.usage.liveBytes;
      assert(liveBytes - others >= formula, "the pools were live buffers");
    });
  }
}

Deno.test("TieredStore neither grows nor leaks over 10,000 steps", async () => {
  using device = await openDevice({ backend: "reference" });
  const steps = 10_000;
  const shape = { layers: 1, kvHeads: 1, headDim: 2, capacity: 200 + steps, sequences: 1 };
  using store = await TieredStore.create(device, {
    fullCache: createFullCache(device, shape),
    lengths: [200],
    pools: () => ({ full: 31, valueOnly: 20 }),
    isPermanent: false,
  });
  const before = device.usage;
  for (let step = 0; step < steps; step++) {
    store.apply([randomPlan(200 + step)]);
    await store.takeNewest();
  }
  const after = device.usage;
  assertEquals(after.liveBytes, before.liveBytes);
  assertEquals(after.liveBuffers, before.liveBuffers);
  assertEquals(after.buffersCreated, before.buffersCreated);
  assertEquals(store.byteLength, (2 * 31 + 20) * 2 * 2);
  assertEquals(store.lengths, [200 + steps]);
});

/** Thirty full and up to twenty marginal tokens that change at every step, and the newest one. */
function randomPlan(newest: number): Selection {
  const tokens = Array.from({ length: 50 }, (_, i) => (newest * 7919 + i * i * 104_729) % newest);
  const different = [...new Set(tokens)];
  const kept = Uint32Array.from(different.slice(0, 30)).sort();
  const valueOnly = Uint32Array.from(different.slice(30)).sort();
  return { full: Uint32Array.of(...kept, newest), valueOnly };
}
