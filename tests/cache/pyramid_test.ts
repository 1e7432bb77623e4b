/**
 * Tests of `cache/pyramid.ts` and of the policy that follows it.
 *
 * @module
 */

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { createPolicy } from "../../cache/policy_options.ts";
import { poolSizes } from "../../cache/tiered_pools.ts";
import { pyramidEntries, pyramidShares } from "../../cache/pyramid.ts";

const sum = (values: Iterable<number>) => [...values].reduce((total, value) => total + value, 0);

Deno.test("pyramidShares() have the given mean, fall with depth, and never exceed 1", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 100 }),
      fc.integer({ min: 1, max: 80 }),
      (percent, layers) => {
        const ratio = percent / 100;
        const shares = pyramidShares(ratio, layers);
        assertEquals(shares.length, layers);
        assertAlmostEquals(sum(shares) / layers, ratio, 1e-9);
        assert(shares.every((share) => share > 0 && share <= 1));
        const isFalling = (share: number, layer: number) =>
          layer === 0 || share <= shares[layer - 1]! + 1e-12;
        assert(shares.every(isFalling), String(shares));
      },
    ),
    { numRuns: 300, seed: 4 },
  );
});

Deno.test("pyramidShares() fall to 0.4 of the first share, and clip evenly", () => {
  const shares = pyramidShares(0.2, 28);
  assertAlmostEquals(shares[0]!, 0.2 * 1.43, 1e-12);
  assertAlmostEquals(shares[27]! / shares[0]!, 0.57 / 1.43, 1e-12);
  const clipped = pyramidShares(0.8, 28);
  assertEquals(clipped[0], 1);
  const plain = (layer: number) => 1 + 0.43 * Math.cos(Math.PI * layer / 27);
  assertAlmostEquals(clipped[20]! / clipped[27]!, plain(20) / plain(27), 1e-9);
  assertEquals([...pyramidShares(1, 3)], [1, 1, 1]);
});

Deno.test("a single layer keeps the given share", () => {
  for (const ratio of [0.2, 0.7, 0.9, 1]) assertEquals([...pyramidShares(ratio, 1)], [ratio]);
});

Deno.test("poolSizes() of a depth profile take no longer than a few times those of tiers", () => {
  const time = (name: string) => {
    const policy = createPolicy(name);
    const request = { budget: { ratio: 0.8 }, promptTokens: 1, capacity: 2048, layers: 28 };
    let least = Infinity;
    for (let run = 0; run < 6; run++) {
      const start = performance.now();
      assertEquals(poolSizes(policy, request).length, 28);
      least = Math.min(least, performance.now() - start);
    }
    return least;
  };
  const [pyramid, tiers] = [time("pyramid_budget"), time("smallkv")];
  assert(pyramid <= 8 * tiers, `${pyramid} ms against ${tiers} ms`);
});

Deno.test("pyramidEntries() rounds down and never exceeds the tokens", () => {
  const at = (ratio: number, layer: number) =>
    pyramidEntries({ ratio, tokens: 1000, layer, layers: 28 });
  assertEquals([at(0.2, 0), at(0.2, 27), at(1, 13)], [286, 114, 1000]);
  const all = (ratio: number) => sum(Array.from({ length: 28 }, (_, layer) => at(ratio, layer)));
  for (const ratio of [0.05, 0.1, 0.2, 0.8, 0.95]) {
    const entries = all(ratio);
    assert(entries <= 28_000 * ratio && entries > 28_000 * ratio - 28, `${entries} at ${ratio}`);
  }
});

Deno.test("pyramid_budget keeps a third recent, four sinks, and at least the newest", () => {
  const { counts } = createPolicy("pyramid_budget");
  const at = (tokens: number, layer: number) =>
    counts({ budget: { ratio: 0.2 }, tokens, promptTokens: tokens, layer, layers: 28 });
  assertEquals(at(1000, 0), { sink: 4, recent: 95, critical: 187, marginal: 0 });
  assertEquals(at(1000, 27), { sink: 4, recent: 38, critical: 72, marginal: 0 });
  assertEquals(at(30, 27), { sink: 2, recent: 1, critical: 0, marginal: 0 }, "cap of 3");
  assertEquals(at(4, 27), { sink: 0, recent: 1, critical: 0, marginal: 0 });
});
