/** Method section 20, invariant 16: bytes that are reported are bytes that exist, and as many as the formula of section 9 says. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { halfEntries } from "../../cache/budget.ts";
import { POLICIES } from "../../cache/policies/mod.ts";
import { createPolicy } from "../../cache/policy_options.ts";
import { poolSizes } from "../../cache/tiered_pools.ts";
import { PolicySession } from "../../decoding/policy_session.ts";
import { testBackends } from "../support/gpu.ts";
import { randomCases, randomPair, randomText } from "./random_pair.ts";

const STEPS = 4;
/** Bytes of a cached number. */
const HALF = 2;

for (const backend of testBackends) {
  Deno.test(`16: reported bytes are those of live buffers and of the formula, on ${backend}`, async () => {
    const names = POLICIES.map(({ name }) => name).filter((name) => name !== "full");
    await fc.assert(
      fc.asyncProperty(
        randomCases(),
        fc.constantFrom(...names),
        fc.constantFrom(0.1, 0.2, 0.5),
        async (one, name, ratio) => {
          using pair = await randomPair(backend, one);
          const { layers, kvHeads, headDim } = pair.large.config;
          const prompt = randomText(one.seed, 130);
          const capacity = prompt.length + STEPS + 1;
          const policy = createPolicy(name);
          const { device } = pair.large;
          using session = new PolicySession(pair, {
            policy,
            budget: { ratio },
            capacity,
            store: "tiered",
          });
          await session.prefill(prompt);
          const whole = 2 * layers * kvHeads * headDim * HALF * capacity;
          assertEquals((await session.memory()).largeCacheBytes, whole, "before the first step");
          const before = device.usage.liveBytes;
          const { selections: first } = await session.step();
          const freed = before - device.usage.liveBytes;
          const pools = poolSizes(policy, {
            budget: { ratio },
            promptTokens: prompt.length,
            capacity,
            layers,
          });
          const slots = pools.reduce((sum, pool) => sum + 2 * pool.full + pool.valueOnly, 0);
          const tiered = slots * kvHeads * headDim * HALF;
          assertEquals((await session.memory()).largeCacheBytes, tiered, name);
          assert(freed >= whole - tiered - RECORDINGS, `${freed} bytes were freed of ${whole}`);
          let selections = first;
          for (let step = 1; step < STEPS; step++) ({ selections } = await session.step());
          const after = await session.memory();
          assertEquals(after.largeCacheBytes, tiered, "steps change no buffer");
          const perUnit = layers * kvHeads / selections[0]!.length;
          // A policy that drops after a step holds fewer tokens now than the step saw.
          const rows = selections[0]!.reduce(
            (sum, { kept, marginal }) => sum + perUnit * (2 * kept.length + marginal.length),
            0,
          );
          if (policy.timing === "before") {
            assertEquals(after.largeCacheBytesIdeal, rows * headDim * HALF);
          } else assert(after.largeCacheBytesIdeal <= rows * headDim * HALF);
        },
      ),
      { numRuns: 8, seed: 16 },
    );
  });
}

/** Bytes that recordings and the newest token's landing place may take beside the pools. */
const RECORDINGS = 65536;

Deno.test("16: a budget of the current length grows by its share of a token per token", () => {
  const requests = fc.record({
    percent: fc.integer({ min: 5, max: 100 }),
    first: fc.integer({ min: 100, max: 2000 }),
    more: fc.integer({ min: 100, max: 3000 }),
  });
  fc.assert(
    fc.property(requests, ({ percent, first, more }) => {
      const { counts } = createPolicy("smallkv");
      const cost = (tokens: number) => {
        const request = { tokens, promptTokens: 100, layer: 0, layers: 1 };
        const tiers = counts({ ...request, budget: { ratio: percent / 100 } });
        return 2 * (tiers.sink + tiers.critical + tiers.recent) + tiers.marginal;
      };
      assertEquals(cost(first), halfEntries({ ratio: percent / 100 }, first));
      const growth = (cost(first + more) - cost(first)) / 2 / more;
      assert(Math.abs(growth - percent / 100) <= 0.5 / more + 1e-12, `${growth} a token`);
    }),
    { numRuns: 300, seed: 16 },
  );
});
