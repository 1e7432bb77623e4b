/**
 * Tests of stores whose layers with a window hold only the newest tokens.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import {
  type CacheShape,
  fullCacheBytes,
  layerSlots,
  ringSlots,
  ringsOf,
} from "../../cache/full_cache.ts";
import type { Selection } from "../../cache/policy.ts";
import { ResidentStore } from "../../cache/resident_store.ts";
import { TieredStore } from "../../cache/tiered_store.ts";
import { testBackends, testDevice } from "../support/gpu.ts";
import { checkRows, filledCache, writeNewest } from "./known_cache.ts";

const SHAPE: CacheShape = {
  layers: 3,
  kvHeads: 2,
  headDim: 8,
  capacity: 700,
  sequences: 2,
  rings: [64, undefined, 320],
};
const LENGTHS = [600, 90];
const STEPS = 12;

Deno.test("ringsOf() gives layers with a window the window and a step's rows, in whole units", () => {
  assertEquals(ringSlots(512, 128), 640);
  assertEquals(ringSlots(1, 1), 64, "a block of drafts has sixteen rows");
  assertEquals(ringSlots(49, 16), 128);
  const windows = [512, undefined, 4096];
  assertEquals(ringsOf(windows, { capacity: 4096, rows: 128 }), [640, undefined, undefined]);
  assertEquals(ringsOf(windows, { capacity: 640 }), undefined);
  assertEquals(ringsOf([], { capacity: 4096 }), undefined);
});

Deno.test("fullCacheBytes() adds up the slots of the layers", () => {
  const slots = 64 + 700 + 320;
  assertEquals(fullCacheBytes(SHAPE), 2 * 8 * slots * 2 * 2 * 2);
  assertEquals(fullCacheBytes({ ...SHAPE, keyFormat: "f32" }), 2 * 8 * slots * 2 * (4 + 2));
  assertEquals([0, 1, 2].map((layer) => layerSlots(SHAPE, layer)), [64, 700, 320]);
});

/** A plan that keeps the newest tokens of rings, and every third token elsewhere. */
function planOf(newest: readonly number[]): Selection[] {
  return newest.flatMap((last) =>
    Array.from({ length: SHAPE.layers * SHAPE.kvHeads }, (_, head) => {
      const ring = SHAPE.rings![Math.floor(head / SHAPE.kvHeads)];
      const all = Array.from({ length: last + 1 }, (_, token) => token);
      const full = ring
        ? all.slice(-(ring - 20))
        : all.filter((token) => token % 3 === 0 || token === last);
      return { full: Uint32Array.from(full), valueOnly: new Uint32Array(0) };
    })
  );
}

for (const backend of testBackends) {
  Deno.test(`stores hold the planned tokens of rings, and give the cache back, on ${backend}`, async () => {
    const device = await testDevice(backend);
    using resident = new ResidentStore(filledCache(device, SHAPE, LENGTHS));
    assertEquals(resident.byteLength, fullCacheBytes(SHAPE));
    const tiered = await TieredStore.create(device, {
      fullCache: filledCache(device, SHAPE, LENGTHS),
      lengths: LENGTHS,
      pools: () => ({ full: 320, valueOnly: 0 }),
      isPermanent: false,
    });
    for (let step = 0; step < STEPS; step++) {
      const newest = LENGTHS.map((length) => length + step);
      const selections = planOf(newest);
      for (const store of [resident, tiered]) {
        const { rows } = store.apply(selections);
        writeNewest(device, store, newest);
        await checkRows(device, store, { selections, rows });
        await store.takeNewest();
      }
    }
    using restored = await tiered.restore();
    using expected = filledCache(device, SHAPE, LENGTHS.map((length) => length + STEPS));
    for (const [layer, { keys, values }] of restored.layers.entries()) {
      assertEquals(await device.read(keys), await device.read(expected.layers[layer]!.keys));
      assertEquals(await device.read(values), await device.read(expected.layers[layer]!.values));
    }
  });
}
