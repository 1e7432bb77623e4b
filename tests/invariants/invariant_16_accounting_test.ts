import fc from "fast-check";
import { assert, assertEquals } from "@std/assert";
import { halfEntries } from "../../cache/budget.ts";
import { createPolicy } from "../../cache/policy_options.ts";
import { poolSizes } from "../../cache/tiered_pools.ts";
import type { StepReport } from "../../decoding/engine/types.ts";
import { PolicySession } from "../../decoding/engine/policy_session.ts";
import type { ModelConfig } from "../../models/config.ts";
import { testBackends } from "../support/gpu.ts";
import { COMPRESSING } from "./decode.ts";
import { randomCases, type RandomPair, randomPair, randomText } from "./random_pair.ts";

/**
 * Invariant 16 of docs/method.md: reported bytes exist, and follow the formula of "Stores". For single stores of up to 8,192 tokens the same is in `tests/cache/tiered_bytes_test.ts`.
 */

const STEPS = 3;
const PROMPT = 130;
/** Long enough that a store's memory outside its pools is small. */
const CAPACITY = 4000;
/** Most bytes for reading the newest tokens and for recordings. */
const OTHERS = 16_000;
/** Bytes of a cached number. */
const HALF = 2;

/** Bytes of selections by the formula, and of all tokens. */
function formula(
  { layers, kvHeads, headDim }: ModelConfig,
  groups: StepReport["selections"][number],
): number {
  const heads = layers * kvHeads / groups.length;
  const rows = groups.reduce(
    (sum, { full, valueOnly }) => sum + heads * (2 * full.length + valueOnly.length),
    0,
  );
  return rows * headDim * HALF;
}

/** Bytes of an index of the keys of some tokens, if a policy has one: codes, scales and mean keys, or bounds of pages. */
function indexFormula(
  name: string,
  { layers, kvHeads, headDim }: ModelConfig,
  tokens: number,
): number {
  const heads = layers * kvHeads;
  if (name === "quest") return heads * Math.ceil(tokens / 16) * 2 * headDim * HALF;
  if (name !== "key_sketch") return 0;
  const codes = 4 * Math.ceil(2 * headDim / 32);
  return heads * (tokens * (codes + HALF) + 4 * headDim);
}

/** Runs a session; returns the bytes that it reports and those that its device holds. */
async function measure(
  pair: RandomPair,
  request: { name: string; ratio: number; seed: number; store: "tiered" | "resident" },
) {
  const policy = createPolicy(request.name);
  const { config, device } = pair.large;
  using session = new PolicySession(pair, {
    policy,
    budget: { ratio: request.ratio },
    capacity: CAPACITY,
    store: request.store,
  });
  await session.prefill(randomText(request.seed, PROMPT));
  let report = await session.step();
  const first = await session.memory();
  for (let step = 1; step < STEPS; step++) report = await session.step();
  const memory = await session.memory();
  assertEquals(memory.largeCacheBytes, first.largeCacheBytes, "steps change no buffer");
  const held = formula(config, (report.after ?? report.selections)[0]!) +
    indexFormula(request.name, config, PROMPT + STEPS);
  assertEquals(memory.largeCacheBytesIdeal, held, request.name);
  return { cacheBytes: memory.largeCacheBytes, liveBytes: device.usage.liveBytes };
}

for (const backend of testBackends) {
  Deno.test(`16: reported bytes are those of live buffers and of the formula, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(
        randomCases(),
        fc.constantFrom(...COMPRESSING),
        fc.constantFrom(0.1, 0.2, 0.5),
        async (one, name, ratio) => {
          using pair = await randomPair(backend, one);
          const { config, device } = pair.large;
          const request = { name, ratio, seed: one.seed };
          // One run before, since a device keeps the buffers that it reads results with.
          await measure(pair, { ...request, store: "resident" });
          await measure(pair, { ...request, store: "tiered" });
          const before = device.usage.liveBytes;
          const resident = await measure(pair, { ...request, store: "resident" });
          const tiered = await measure(pair, { ...request, store: "tiered" });
          assertEquals(device.usage.liveBytes, before, "everything is freed");
          const { layers, kvHeads, headDim } = config;
          const index = indexFormula(name, config, CAPACITY);
          const whole = 2 * layers * kvHeads * headDim * HALF * CAPACITY;
          assertEquals(resident.cacheBytes, whole + index);
          const pools = poolSizes(createPolicy(name), {
            budget: { ratio },
            promptTokens: PROMPT,
            capacity: CAPACITY,
            layers,
          });
          const slots = pools.reduce((sum, pool) => sum + 2 * pool.full + pool.valueOnly, 0);
          assertEquals(tiered.cacheBytes, slots * kvHeads * headDim * HALF + index, name);
          const saved = resident.liveBytes - tiered.liveBytes;
          const reported = resident.cacheBytes - tiered.cacheBytes;
          const upload = whole / layers / 4;
          assert(Math.abs(saved + upload - reported) <= OTHERS, `${saved} of ${reported}: ${name}`);
        },
      ),
      { numRuns: 4, seed: 16 },
    );
  });
}

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
