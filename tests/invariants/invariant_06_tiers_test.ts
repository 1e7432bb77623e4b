/**
 * Invariant 6 of docs/method.md: tiers are disjoint, cost no more than the budget and hold the newest token. The
 * arithmetic for every length and percentage is in `tests/cache/budget_test.ts`.
 */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { halfEntries, splitBudget } from "../../cache/budget.ts";
import { testBackends } from "../support/gpu.ts";
import { decodeUnder, listed } from "./decode.ts";
import { randomCases, randomPair, randomText } from "./random_pair.ts";

const STEPS = 4;

for (const backend of testBackends) {
  Deno.test(`6: tiers of SmallKV partition the tokens and keep to the budget, on ${backend}`, async () => {
    const choices = fc.record({
      percent: fc.oneof(fc.integer({ min: 2, max: 15 }), fc.integer({ min: 16, max: 99 })),
      length: fc.integer({ min: 100, max: 220 }),
      policy: fc.constantFrom("smallkv", "smallkv_query_aware"),
      granularity: fc.constantFrom("kv_head", "query_head", "layer", "kv_match"),
    });
    await fc.assert(
      fc.asyncProperty(randomCases(), choices, async (one, choice) => {
        const { percent, length, policy, granularity } = choice;
        using pair = await randomPair(backend, one);
        const ratio = percent / 100;
        for (const isPlannedOnHost of [false, true]) {
          const { selections } = await decodeUnder(pair, {
            policy,
            options: { granularity },
            budget: ratio,
            prompt: randomText(one.seed, length),
            steps: STEPS,
            isPlannedOnHost,
          });
          selections.forEach((groups, step) => {
            const tokens = length + step + 1;
            const { critical, recent, marginal } = splitBudget({ ratio }, tokens);
            const half = halfEntries({ ratio }, tokens);
            if (half >= 4) assertEquals(2 * (critical + recent) + marginal, half);
            for (const selection of groups) {
              const tiers = listed(selection);
              assertEquals(tiers.full.length, critical + recent);
              assertEquals(tiers.valueOnly.length, marginal);
              const newest = Array.from({ length: recent }, (_, i) => tokens - recent + i);
              assertEquals(tiers.full.slice(critical), newest, "the newest tokens are recent");
              const all = [...tiers.full, ...tiers.valueOnly];
              assertEquals(new Set(all).size, all.length, "disjoint");
              assert(all.every((token) => token >= 0 && token < tokens));
            }
          });
        }
      }),
      { numRuns: 10, seed: 6 },
    );
  });
}
