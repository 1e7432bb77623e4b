/**
 * Tests of `cache/tiered_store.ts` and `cache/resident_store.ts`: what a row holds is the original, bit for bit.
 *
 * @module
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type CacheShape, createFullCache, fullCacheBytes } from "../../cache/full_cache.ts";
import type { Selection } from "../../cache/policy.ts";
import { ResidentStore } from "../../cache/resident_store.ts";
import type { PoolSize } from "../../cache/slot_change.ts";
import { TieredStore } from "../../cache/tiered_store.ts";
import { GpuError, RequirementError } from "../../core/check.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { testBackends, testDevice } from "../support/gpu.ts";
import { checkRows, filledCache, writeNewest } from "./known_cache.ts";
import { planMaker } from "./random_plans.ts";

const SHAPE: CacheShape = { layers: 3, kvHeads: 2, headDim: 16, capacity: 260, sequences: 2 };
const POOLS: readonly PoolSize[] = [
  { full: 8, valueOnly: 6 },
  { full: 5, valueOnly: 3 },
  { full: 12, valueOnly: 0 },
];
const pools = (layer: number) => POOLS[layer]!;

/** One plan maker per KV head, from the newest token of each sequence to all selections. */
function planAll(
  shape: CacheShape,
  options: { readonly seed: number; readonly isPermanent: boolean },
): (newest: readonly number[]) => Selection[] {
  const heads = shape.sequences * shape.layers * shape.kvHeads;
  const makers = Array.from({ length: heads }, (_, head) => {
    const layer = Math.floor(head / shape.kvHeads) % shape.layers;
    const { isPermanent } = options;
    return planMaker(options.seed + head, { ...pools(layer), isPermanent });
  });
  const perSequence = shape.layers * shape.kvHeads;
  return (newest) => makers.map((make, head) => make(newest[Math.floor(head / perSequence)]!));
}

function poolBytes(shape: CacheShape, of: (layer: number) => PoolSize): number {
  let rows = 0;
  for (let layer = 0; layer < shape.layers; layer++) {
    rows += 2 * of(layer).full + of(layer).valueOnly;
  }
  return rows * shape.sequences * shape.kvHeads * shape.headDim * 2;
}

for (const backend of testBackends) {
  for (const isPermanent of [false, true]) {
    const kind = isPermanent ? "permanent" : "returning";
    Deno.test(`TieredStore.apply() holds the originals of hundreds of random plans, ${kind}, ${backend}`, async () => {
      const device = await testDevice(backend);
      const lengths = [30, 41];
      const options = { lengths, pools, isPermanent, uploadBytes: 4000 };
      const fullCache = filledCache(device, SHAPE, lengths);
      using store = await TieredStore.create(device, { ...options, fullCache });
      const plan = planAll(SHAPE, { seed: 11, isPermanent });
      let buffers = 0;
      for (let step = 0; step < 200; step++) {
        if (step === 20) buffers = device.usage.buffersCreated;
        const newest = lengths.map((length) => length + step);
        assertEquals(store.lengths, newest);
        const selections = plan(newest);
        const { rows, migration } = store.apply(selections);
        writeNewest(device, store, newest);
        if (step % 10 < 2) await checkRows(device, store, { selections, rows });
        await store.takeNewest();
        assert(migration.churn > 0 && migration.churn <= 1);
        assertEquals(store.byteLength, poolBytes(SHAPE, pools));
      }
      assertEquals(device.usage.buffersCreated, buffers, "steps make no buffers");
    });
  }

  Deno.test(`TieredStore and ResidentStore count the same loads, ${backend}`, async () => {
    const device = await testDevice(backend);
    const lengths = [30, 41];
    using resident = new ResidentStore(filledCache(device, SHAPE, lengths));
    const fullCache = filledCache(device, SHAPE, lengths);
    using store = await TieredStore.create(device, {
      fullCache,
      lengths,
      pools,
      isPermanent: false,
    });
    const plan = planAll(SHAPE, { seed: 5, isPermanent: false });
    for (let step = 0; step < 20; step++) {
      const newest = lengths.map((length) => length + step);
      const selections = plan(newest);
      const tiered = store.apply(selections);
      const logical = resident.apply(selections);
      writeNewest(device, store, newest);
      writeNewest(device, resident, newest);
      if (step % 5 === 0) await checkRows(device, resident, { selections, rows: logical.rows });
      assertEquals(logical.migration, { ...tiered.migration, poolMoveBytes: 0, landingBytes: 0 });
      assert(tiered.migration.landingBytes > 0 || step === 0);
      await store.takeNewest();
      await resident.takeNewest();
    }
  });

  Deno.test(`TieredStore.create() stays below the full cache and one layer, ${backend}`, async () => {
    for (const capacity of [128, 1024, 1100, 5000, 8192]) {
      using device = await openDevice({ backend });
      const shape = { layers: 4, kvHeads: 2, headDim: 16, capacity, sequences: 1 };
      const size = { full: Math.ceil(0.15 * capacity), valueOnly: Math.ceil(0.1 * capacity) };
      const fullCache = createFullCache(device, shape);
      const full = fullCacheBytes(shape);
      assertEquals(device.usage.liveBytes, full);
      const options = { fullCache, lengths: [capacity - 1], pools: () => size, isPermanent: false };
      const store = await TieredStore.create(device, options);
      const { peakBytes } = device.usage;
      assert(peakBytes <= full + full / shape.layers, `${peakBytes} of ${full}`);
      const formula = 4 * 2 * 16 * 2 * (2 * size.full + size.valueOnly);
      assertEquals(store.byteLength, formula);
      assertEquals(fullCache.byteLength, 0);
      assertEquals(store.hostBytes >= full * (capacity - 1) / capacity, true);
      const withStore = device.usage.liveBytes;
      store[Symbol.dispose]();
      const pools = store.layers.flatMap(({ keys, values }) => [keys, values]);
      assertEquals(pools.reduce((sum, { byteLength }) => sum + byteLength, 0), formula);
      assert(withStore - device.usage.liveBytes - formula < full / shape.layers);
    }
  });

  Deno.test(`TieredStore brings back a dropped token bit by bit, ${backend}`, async () => {
    const device = await testDevice(backend);
    const shape = { ...SHAPE, sequences: 1 };
    const fullCache = filledCache(device, shape, [20]);
    using store = await TieredStore.create(device, {
      fullCache,
      lengths: [20],
      pools,
      isPermanent: false,
    });
    const keptOf = [[3, 5], [5, 7], [7, 20], [3, 20, 21]];
    for (const [step, tokens] of keptOf.entries()) {
      const selection = {
        full: Uint32Array.of(...tokens, 20 + step),
        valueOnly: new Uint32Array(),
      };
      const selections = new Array<Selection>(shape.layers).fill(selection);
      const { rows } = store.apply(selections);
      writeNewest(device, store, [20 + step]);
      const perHead = selections.flatMap((one) => [one, one]);
      await checkRows(device, store, { selections: perHead, rows });
      await store.takeNewest();
    }
    const restored = await store.restore();
    const wanted = filledCache(device, shape, [24]);
    for (const [layer, { keys, values }] of restored.layers.entries()) {
      assertEquals(await device.read(keys), await device.read(wanted.layers[layer]!.keys));
      assertEquals(await device.read(values), await device.read(wanted.layers[layer]!.values));
    }
    restored[Symbol.dispose]();
    wanted[Symbol.dispose]();
  });
}

const plain = { ...SHAPE, sequences: 1 };

function allHeads(kept: readonly number[], marginal: readonly number[] = []): Selection[] {
  const selection = { full: Uint32Array.from(kept), valueOnly: Uint32Array.from(marginal) };
  return new Array<Selection>(plain.layers * plain.kvHeads).fill(selection);
}

Deno.test("TieredStore.apply() names layer and head of a plan that is too large, and changes nothing", async () => {
  const device = await testDevice("reference");
  using store = await TieredStore.create(device, {
    fullCache: filledCache(device, plain, [20]),
    lengths: [20],
    pools,
    isPermanent: false,
    limit: (layer, tokens) => ({ full: layer === 2 ? tokens - 18 : 99, valueOnly: 1 }),
  });
  assertThrows(
    () => store.apply(allHeads([1, 2, 3, 4, 20], [5, 6])),
    RequirementError,
    "layer 0, KV head 0, sequence 0 must keep at most 8 tokens with keys and 1 with values only: current counts are 5 and 2",
  );
  assertThrows(
    () => store.apply(allHeads([1, 2, 3, 20])),
    RequirementError,
    "layer 2, KV head 0, sequence 0 must keep at most 3 tokens",
  );
  const message = "KV head 0 must be the newest one, 20: current value is 19";
  assertThrows(() => store.apply(allHeads([1, 19])), RequirementError, message);
  assertThrows(
    () => store.apply(allHeads([1, 20]).slice(1)),
    RequirementError,
    "a selection per KV head",
  );
  await assertRejects(() => store.takeNewest(), RequirementError, "a plan must have been applied");
  store.apply(allHeads([1, 20]));
});

Deno.test("TieredStore of a permanent policy forgets what it drops, on the host too", async () => {
  const device = await testDevice("reference");
  using store = await TieredStore.create(device, {
    fullCache: filledCache(device, { ...plain, capacity: 600 }, [550]),
    lengths: [550],
    pools: () => ({ full: 4, valueOnly: 0 }),
    isPermanent: true,
  });
  store.apply(allHeads([3, 4, 550]));
  assertEquals(store.hostBytes, 0);
  await store.takeNewest();
  const { layers, kvHeads, headDim } = plain;
  assertEquals(store.hostBytes, layers * kvHeads * 4 * headDim, "the newest token");
  store.apply(allHeads([3, 4, 550, 551]));
  await store.takeNewest();
  assertThrows(
    () => store.apply(allHeads([2, 4, 552])),
    RequirementError,
    "Cannot load a key: layer 0, KV head 0, sequence 0 must still hold token 2: current state is dropped for good",
  );
  store.apply(allHeads([4, 551, 552]));
  await assertRejects(() => store.restore(), RequirementError, "token 0 must be on the host");
});

Deno.test("TieredStore.create() refuses what it cannot hold", async () => {
  const device = await testDevice("reference");
  using fullCache = filledCache(device, plain, [20]);
  const options = { fullCache, lengths: [20], pools, isPermanent: false } as const;
  const create = (changes: object) => TieredStore.create(device, { ...options, ...changes });
  await assertRejects(
    () => create({ lengths: [1, 2] }),
    RequirementError,
    "lengths must have length 1",
  );
  await assertRejects(() => create({ lengths: [261] }), RequirementError, "length of a sequence");
  const huge = () => ({ full: 261, valueOnly: 0 });
  await assertRejects(() => create({ pools: huge }), RequirementError, "full slots of layer 0");
  await assertRejects(() => create({ uploadBytes: 8 }), RequirementError, "uploadBytes");
  assertEquals(fullCache.byteLength, fullCacheBytes(plain), "the cache is whole");
});

Deno.test("TieredStore.create() leaves the cache unchanged if its buffers do not fit", async () => {
  using device = await openDevice({ backend: "reference", maxBytes: fullCacheBytes(plain) + 100 });
  using fullCache = filledCache(device, plain, [20]);
  const options = { fullCache, lengths: [20], pools, isPermanent: false };
  await assertRejects(() => TieredStore.create(device, options), GpuError, "Cannot allocate");
  assertEquals(device.usage.liveBytes, fullCacheBytes(plain));
});

Deno.test("TieredStore.restore() briefly holds pools and cache, or keeps its pools", async () => {
  const full = fullCacheBytes(plain);
  using device = await openDevice({ backend: "reference", maxBytes: 2 * full });
  const fullCache = filledCache(device, plain, [20]);
  const options = { fullCache, lengths: [20], pools, isPermanent: false };
  using store = await TieredStore.create(device, options);
  const own = device.usage.liveBytes;
  assert(own < full);
  const ballast = device.createBuffer("ballast", 2 * full - own - full + 4);
  const error = await assertRejects(() => store.restore(), GpuError, "in addition to the pools");
  assert(error.message.includes(`${full} bytes free`), error.message);
  assertEquals(device.usage.liveBytes, own + ballast.byteLength);
  ballast[Symbol.dispose]();
  const { rows } = store.apply(allHeads([1, 20]));
  writeNewest(device, store, [20]);
  await checkRows(device, store, { selections: allHeads([1, 20]), rows });
  await store.takeNewest();
  const peakBefore = device.usage.peakBytes;
  using restored = await store.restore();
  assertEquals(device.usage.liveBytes, full);
  assert(device.usage.peakBytes === Math.max(peakBefore, own + full));
  assertEquals(restored.byteLength, full);
});

Deno.test("TieredStore.takeNewest() needs a plan for each step", async () => {
  const device = await testDevice("reference");
  using store = await TieredStore.create(device, {
    fullCache: filledCache(device, plain, [20]),
    lengths: [20],
    pools,
    isPermanent: false,
  });
  for (let newest = 20; newest < 24; newest++) {
    store.apply(allHeads([1, 19, newest]));
    writeNewest(device, store, [newest]);
    await store.takeNewest();
  }
  await assertRejects(() => store.takeNewest(), RequirementError, "a plan must have been applied");
  const selections = allHeads([1, 20, 24]);
  const { rows } = store.apply(selections);
  writeNewest(device, store, [24]);
  await checkRows(device, store, { selections, rows });
});
