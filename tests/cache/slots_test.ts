/**
 * Tests of `cache/slots.ts` against a model of the device that remembers which token's key and value a slot holds.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { Selection } from "../../cache/policy.ts";
import type { PoolSize, SlotChange } from "../../cache/slot_change.ts";
import { SlotTable } from "../../cache/slots.ts";
import { RequirementError } from "../../core/check.ts";
import { planMaker } from "./random_plans.ts";

const label = "layer 2, KV head 1, sequence 0";

function selection(kept: readonly number[], marginal: readonly number[] = []): Selection {
  return { full: Uint32Array.from(kept), valueOnly: Uint32Array.from(marginal) };
}

/** Slots of one KV head with the token that each key and value belongs to. */
class ModelDevice {
  readonly keys: Int32Array;
  readonly values: Int32Array;

  constructor({ full, valueOnly }: PoolSize) {
    this.keys = new Int32Array(full).fill(-1);
    this.values = new Int32Array(full + valueOnly).fill(-1);
  }

  run(change: SlotChange, { full, valueOnly }: Selection): void {
    const { keyLoads, valueLoads, fullSlots, valueOnlySlots } = change;
    for (let i = 0; i < keyLoads.length; i += 2) this.keys[keyLoads[i + 1]!] = keyLoads[i]!;
    for (let i = 0; i < valueLoads.length; i += 2) this.values[valueLoads[i + 1]!] = valueLoads[i]!;
    this.keys[0] = this.values[0] = full.at(-1)!;
    assertEquals(fullSlots.map((slot) => this.keys[slot]!), full, "keys");
    assertEquals(fullSlots.map((slot) => this.values[slot]!), full, "values of kept tokens");
    assertEquals(valueOnlySlots.map((slot) => this.values[slot]!), valueOnly, "marginal values");
    const used = new Set([...fullSlots, ...valueOnlySlots]);
    assertEquals(used.size, full.length + valueOnly.length, "no slot is shared");
  }
}

/** The least that must be loaded, computed from the plans alone. */
function checkCounts(change: SlotChange, before: Selection, now: Selection): void {
  const landed = before.full.at(-1);
  const newest = now.full.at(-1)!;
  const hadKey = new Set(before.full);
  const had = new Set([...before.full, ...before.valueOnly]);
  const all = [...now.full, ...now.valueOnly];
  const planned = new Set(all);
  const { counts, keyLoads, valueLoads } = change;
  const keys = now.full.filter((token) => !hadKey.has(token) && token !== newest).length;
  const values = all.filter((token) => !had.has(token) && token !== newest).length;
  const landing = now.full.includes(landed!) ? 2 : now.valueOnly.includes(landed!) ? 1 : 0;
  assertEquals(counts.loadedKeys, keys, "keys that the device lacked");
  assertEquals(counts.loadedValues, values, "values that the device lacked");
  assertEquals(counts.landing, landing, "rows that leave the landing slot");
  assertEquals(keyLoads.length / 2, keys + (landing === 2 ? 1 : 0));
  assertEquals(valueLoads.length / 2, values + counts.poolMoves + (landing > 0 ? 1 : 0));
  assertEquals(counts.freed, [...had].filter((token) => !planned.has(token)).length, "freed");
  assertEquals(counts.entered, all.filter((token) => !had.has(token)).length, "entered");
  assertEquals(counts.planned, all.length);
  const marginal = new Set(before.valueOnly);
  assertEquals(counts.promoted, now.full.filter((token) => marginal.has(token)).length, "promoted");
  const demoted = now.valueOnly.filter((token) => hadKey.has(token) && token !== landed);
  assertEquals(counts.demoted, demoted.length, "demoted");
}

/** Values leave a full slot only if no full slot is free. */
function checkEvictions(change: SlotChange, oldSlots: Uint32Array, full: number): void {
  const { fullSlots, valueOnlySlots } = change;
  const hasLeft = (slot: number, i: number) =>
    slot >= full && oldSlots[i]! > 0 && oldSlots[i]! < full;
  if (!valueOnlySlots.some(hasLeft)) return;
  const guests = valueOnlySlots.filter((slot) => slot < full);
  assertEquals(fullSlots.length + guests.length, full, "every full slot is taken");
}

for (const isPermanent of [false, true]) {
  Deno.test(`SlotTable holds every token of many random plans, ${isPermanent ? "permanent" : "returning"}`, () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 9 }), fc.nat(7), (seed, full, valueOnly) => {
        const pool = { full, valueOnly };
        const table = new SlotTable({ label, pool, capacity: 300, isPermanent });
        const device = new ModelDevice(pool);
        const plan = planMaker(seed, { ...pool, isPermanent });
        let before = selection([]);
        for (let newest = 20; newest < 300; newest++) {
          const now = plan(newest);
          table.check(now);
          const oldSlots = now.valueOnly.map((token) => table.slotOf(token));
          const change = table.apply(now);
          device.run(change, now);
          checkCounts(change, before, now);
          checkEvictions(change, oldSlots, full);
          before = now;
        }
      }),
      { numRuns: 20, seed: 7 },
    );
  });
}

Deno.test("SlotTable reuses freed slots over 10,000 steps", () => {
  const pool = { full: 6, valueOnly: 5 };
  const capacity = 10_050;
  const table = new SlotTable({ label, pool, capacity, isPermanent: false });
  const device = new ModelDevice(pool);
  for (let newest = 50; newest < capacity; newest++) {
    const some = Array.from({ length: 10 }, (_, i) => (newest * 7919 + i * i * 104_729) % newest);
    const tokens = [...new Set(some)];
    const kept = tokens.slice(0, 5).sort((a, b) => a - b);
    const marginal = tokens.slice(5).sort((a, b) => a - b);
    const now = selection([...kept, newest], marginal);
    table.check(now);
    device.run(table.apply(now), now);
  }
  assertEquals(device.keys.length + device.values.length, 2 * 6 + 5);
});

Deno.test("SlotTable moves tokens between tiers", () => {
  const pool = { full: 4, valueOnly: 2 };
  const table = new SlotTable({ label, pool, capacity: 50, isPermanent: false });
  const counts = (now: Selection) => {
    table.check(now);
    return table.apply(now).counts;
  };
  const first = counts(selection([1, 2, 10], [3]));
  assertEquals([first.entered, first.loadedKeys, first.loadedValues], [4, 2, 3]);
  const recentToCritical = counts(selection([1, 10, 11], [2, 3]));
  assertEquals([recentToCritical.loadedTokens, recentToCritical.landing], [0, 2]);
  assertEquals([recentToCritical.demoted, recentToCritical.poolMoves], [1, 0], "its value stays");
  const back = counts(selection([1, 2, 10, 12], [3]));
  assertEquals([back.loadedKeys, back.loadedValues, back.poolMoves], [1, 0, 0], "only its key");
  assertEquals([back.freed, back.landing], [1, 0], "11 was dropped from the landing slot");
  const swapped = counts(selection([1, 3, 10, 13], [2]));
  assertEquals([swapped.promoted, swapped.demoted, swapped.poolMoves], [1, 1, 2]);
  assertEquals(swapped.freed, 1);
});

Deno.test("SlotTable changes nothing when a plan is repeated", () => {
  const table = new SlotTable({
    label,
    pool: { full: 3, valueOnly: 1 },
    capacity: 9,
    isPermanent: false,
  });
  const plan = selection([0, 5, 7], [2]);
  const { fullSlots } = table.apply(plan);
  const again = table.apply(plan);
  assertEquals(again.fullSlots, fullSlots);
  assertEquals([again.keyLoads.length, again.valueLoads.length, again.counts.entered], [0, 0, 0]);
  assertEquals([table.slotOf(7), table.slotOf(6), table.slotOf(2)], [0, -1, 3]);
});

Deno.test("SlotTable refuses plans that break the pools, the limit or the order", () => {
  const pool = { full: 3, valueOnly: 1 };
  const table = new SlotTable({ label, pool, capacity: 9, isPermanent: false });
  assertThrows(
    () => table.check(selection([0, 1, 2, 3], [4])),
    RequirementError,
    `${label} must keep at most 3 tokens with keys and 1 with values only: current counts are 4 and 1`,
  );
  assertThrows(
    () => table.check(selection([5, 6, 7], [4]), { full: 2, valueOnly: 9 }),
    RequirementError,
    "must keep at most 2 tokens with keys and 1 with values only: current counts are 3 and 1",
  );
  const broken = [
    selection([]),
    selection([2, 1]),
    selection([1, 1, 2]),
    selection([1, 4], [4]),
    selection([1, 4], [1]),
    selection([1, 4], [5]),
    selection([1, 9]),
  ];
  for (const plan of broken) {
    assertThrows(() => table.check(plan), RequirementError, `${label} must list each token once`);
  }
  table.check(selection([1, 4], [3]));
});

Deno.test("SlotTable of a permanent policy refuses what was dropped", () => {
  const pool = { full: 4, valueOnly: 2 };
  const table = new SlotTable({ label, pool, capacity: 50, isPermanent: true });
  const first = selection([3, 4, 9], [5]);
  table.check(first);
  table.apply(first);
  const refused = (plan: Selection, message: string) =>
    assertThrows(() => table.check(plan), RequirementError, message);
  refused(selection([2, 10]), `Cannot load a key: ${label} must still hold token 2`);
  refused(selection([5, 10]), `Cannot load a key: ${label} must still hold token 5`);
  refused(selection([3, 10], [6]), `Cannot load a value: ${label} must still hold token 6`);
  const next = selection([4, 9, 10], [3, 5]);
  table.check(next);
  table.apply(next);
  refused(selection([3, 11]), "Cannot load a key");
  assert(table.slotOf(3) > 0);
});
