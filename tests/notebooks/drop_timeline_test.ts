import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import type { AttentionMap } from "../../analysis/attention_map.ts";
import { h2o } from "../../cache/policies/h2o.ts";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import { dropTimeline } from "../../notebooks/drop_timeline.ts";
import { TIER } from "../../cache/token_tier.ts";

function mapOf(rows: readonly (readonly number[])[]): AttentionMap {
  const keys = rows.length;
  const values = new Float32Array(keys * keys);
  rows.forEach((row, query) => values.set(row, query * keys));
  return { layer: 0, head: 0, queries: keys, keys, values };
}

function randomMap(keys: number, seed: number): AttentionMap {
  const random = seededRandom(seed);
  return mapOf(Array.from({ length: keys }, (_, query) => {
    const row = Array.from({ length: query + 1 }, () => random() ** 4);
    const sum = row.reduce((total, value) => total + value, 0);
    return row.map((value) => value / sum);
  }));
}

/** Tokens 0 and 1 are salient at first; token 2 is needed at the last step. */
const SHIFTED = mapOf([
  [1],
  [0.5, 0.5],
  [0.5, 0.4, 0.1],
  [0.5, 0.4, 0.05, 0.05],
  [0.6, 0.3, 0, 0.05, 0.05],
  [0.1, 0, 0.8, 0, 0.05, 0.05],
]);

Deno.test("dropTimeline() finds what a policy dropped and a later step needed", () => {
  const steps = dropTimeline(SHIFTED, { policy: h2o, budgetRatio: 0.5, promptTokens: 4 });
  assertEquals(steps.map(({ position }) => position), [4, 5]);
  const last = steps[1]!;
  assertStrictEquals(last.tiers[2], TIER.dropped);
  assertStrictEquals(last.tiers[0], TIER.critical);
  assertStrictEquals(last.tiers[5], TIER.recent);
  assert(last.missed >= 0.8 - 1e-6);
});

Deno.test("dropTimeline() with a guide that is right immediately misses less", () => {
  const options = { budgetRatio: 0.5, promptTokens: 4, guide: SHIFTED, memory: "last" } as const;
  const guided = { ...h2o, candidates: "all", timing: "before" } as const;
  const last = dropTimeline(SHIFTED, { policy: guided, ...options }).at(-1)!;
  assertStrictEquals(last.tiers[2], TIER.critical);
  assert(last.missed < 0.11);
});

Deno.test("dropTimeline() never brings a dropped token back under H2O, and keeps to the budget", () => {
  for (let seed = 0; seed < 20; seed++) {
    const map = randomMap(40, seed);
    const steps = dropTimeline(map, { policy: h2o, budgetRatio: 0.3, promptTokens: 20 });
    for (const [index, { position, tiers, row, missed }] of steps.entries()) {
      const held = tiers.filter((tier) => tier === TIER.critical || tier === TIER.recent).length;
      assert(held <= 0.3 * (position + 1) + 1, `seed ${seed}`);
      const before = steps[index - 1]?.tiers;
      before?.forEach((tier, token) => {
        if (tier === TIER.dropped) assertStrictEquals(tiers[token], TIER.dropped, `seed ${seed}`);
      });
      let sum = 0;
      tiers.forEach((tier, token) => sum += tier === TIER.dropped ? row[token]! : 0);
      assert(Math.abs(sum - missed) < 1e-6);
    }
  }
});

Deno.test("dropTimeline() misses nothing with the whole budget", () => {
  const map = randomMap(30, 1);
  for (const { missed } of dropTimeline(map, { policy: h2o, budgetRatio: 1, promptTokens: 10 })) {
    assertEquals(missed, 0);
  }
});

Deno.test("dropTimeline() refuses what does not fit", () => {
  const options = { policy: h2o, budgetRatio: 0.5, promptTokens: 4 };
  assertThrows(() => dropTimeline(SHIFTED, { ...options, promptTokens: 6 }), RequirementError);
  assertThrows(
    () => dropTimeline(SHIFTED, { ...options, guide: randomMap(5, 1) }),
    RequirementError,
  );
});
