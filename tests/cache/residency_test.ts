/**
 * Tests of `cache/residency.ts` against `cache/slots.ts`, which counts the same while it assigns slots.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ResidencyTable } from "../../cache/residency.ts";
import { SlotTable } from "../../cache/slots.ts";
import { RequirementError } from "../../core/check.ts";
import { planMaker } from "./random_plans.ts";

const label = "layer 2, KV head 1, sequence 0";
const capacity = 300;

for (const isPermanent of [false, true]) {
  const kind = isPermanent ? "permanent" : "returning";
  Deno.test(`ResidencyTable counts what SlotTable counts, ${kind}`, () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 9 }), fc.nat(7), (seed, full, valueOnly) => {
        const pool = { full, valueOnly };
        const slots = new SlotTable({ label, pool, capacity, isPermanent });
        const table = new ResidencyTable({ label, capacity, isPermanent });
        const plan = planMaker(seed, { ...pool, isPermanent });
        for (let newest = 20; newest < capacity; newest++) {
          const now = plan(newest);
          table.check(now, pool);
          const expected = { ...slots.apply(now).counts, poolMoves: 0, landing: 0 };
          assertEquals(table.apply(now), expected);
          if (newest % 50 === 0) {
            assertEquals(table.apply(now), { ...slots.apply(now).counts }, "the same plan again");
          }
        }
      }),
      { numRuns: 20, seed: 8 },
    );
  });
}

Deno.test("ResidencyTable refuses what SlotTable refuses", () => {
  const pool = { full: 4, valueOnly: 2 };
  const tables = [
    new SlotTable({ label, pool, capacity: 50, isPermanent: true }),
    new ResidencyTable({ label, capacity: 50, isPermanent: true }),
  ];
  const selection = (kept: readonly number[], marginal: readonly number[] = []) => ({
    full: Uint32Array.from(kept),
    valueOnly: Uint32Array.from(marginal),
  });
  const refused = [
    [selection([1, 2, 3, 4, 10]), "must keep at most 4 tokens with keys"],
    [selection([2, 1]), "must list each token once and ascending"],
    [selection([2, 10]), `Cannot load a key: ${label} must still hold token 2`],
    [selection([5, 10]), `Cannot load a key: ${label} must still hold token 5`],
    [selection([3, 10], [6]), `Cannot load a value: ${label} must still hold token 6`],
  ] as const;
  for (const table of tables) {
    table.check(selection([3, 4, 9], [5]), pool);
    table.apply(selection([3, 4, 9], [5]));
    for (const [plan, message] of refused) {
      assertThrows(() => table.check(plan, pool), RequirementError, message);
    }
    table.check(selection([4, 9, 10], [3, 5]), pool);
  }
});
