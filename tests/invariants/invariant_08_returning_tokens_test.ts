/**
 * Invariant 8 of docs/method.md: tokens that SmallKV drops may return unchanged; those of H2O and PyramidInfer never do.
 * Random plans are in `tests/cache/tiered_store_test.ts`.
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { CacheShape } from "../../cache/full_cache.ts";
import { planBySaliency, type Selection } from "../../cache/policy.ts";
import { createPolicy, type ResolvedPolicy } from "../../cache/policy_options.ts";
import { poolSizes } from "../../cache/tiered_pools.ts";
import { TieredStore } from "../../cache/tiered_store.ts";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import type { Backend } from "../../gpu/device.ts";
import { checkRows, filledCache, writeNewest } from "../cache/known_cache.ts";
import { testBackends, testDevice } from "../support/gpu.ts";
import { decodeUnder } from "./decode.ts";
import { randomCases, randomPair, randomText } from "./random_pair.ts";

const SHAPE: CacheShape = { layers: 2, kvHeads: 2, headDim: 16, capacity: 160, sequences: 1 };
const PROMPT = 110;
const BUDGET = { ratio: 0.3 };

/** Plans of a policy by scores that change at every step. */
function plans(policy: ResolvedPolicy, seed: number): (tokens: number) => Selection[] {
  const random = seededRandom(seed);
  return (tokens) =>
    Array.from({ length: SHAPE.layers * SHAPE.kvHeads }, (_, head) => {
      const layer = Math.floor(head / SHAPE.kvHeads);
      const saliency = Float32Array.from({ length: tokens }, random);
      const request = { budget: BUDGET, tokens, promptTokens: PROMPT, layer, layers: 2 };
      return planBySaliency({ tokens, saliency }, policy.counts(request));
    });
}

async function openStore(backend: Backend, policy: ResolvedPolicy): Promise<TieredStore> {
  const device = await testDevice(backend);
  const { capacity, layers } = SHAPE;
  const pools = poolSizes(policy, { budget: BUDGET, promptTokens: PROMPT, capacity, layers });
  return await TieredStore.create(device, {
    fullCache: filledCache(device, SHAPE, [PROMPT]),
    lengths: [PROMPT],
    pools: (layer) => pools[layer]!,
    isPermanent: policy.candidates === "kept",
  });
}

for (const backend of testBackends) {
  Deno.test(`8: tokens that SmallKV dropped return with their keys and values bit by bit, on ${backend}`, async () => {
    let returned = 0;
    await fc.assert(
      fc.asyncProperty(fc.nat(1e6), async (seed) => {
        const device = await testDevice(backend);
        const policy = createPolicy("smallkv");
        using store = await openStore(backend, policy);
        const plan = plans(policy, seed);
        let keys = new Set<number>();
        const everHeld = new Set<number>();
        for (let newest = PROMPT; newest < PROMPT + 20; newest++) {
          const selections = plan(newest + 1);
          const { rows } = store.apply(selections);
          writeNewest(device, store, [newest]);
          await checkRows(device, store, { selections, rows });
          await store.takeNewest();
          const { full } = selections[0]!;
          for (const token of full) {
            if (everHeld.has(token) && !keys.has(token)) returned += 1;
            everHeld.add(token);
          }
          keys = new Set(full);
        }
      }),
      { numRuns: 4, seed: 8 },
    );
    assert(returned > 100, `${returned} tokens returned`);
  });

  Deno.test(`8: bringing back what H2O or PyramidInfer dropped is an error, and their plans never do, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom("h2o", "pyramid_budget", "tova"),
        fc.nat(1e6),
        randomCases(),
        async (name, seed, one) => {
          const device = await testDevice(backend);
          const policy = createPolicy(name);
          using store = await openStore(backend, policy);
          const plan = plans(policy, seed);
          const before = plan(PROMPT + 1);
          store.apply(before);
          writeNewest(device, store, [PROMPT]);
          await store.takeNewest();
          const held = new Set(before[0]!.full);
          const kept = [...held].slice(1);
          const gone = Array.from({ length: PROMPT }, (_, token) => token)
            .filter((token) => !held.has(token));
          const asked = gone[seed % gone.length]!;
          const wrong = Uint32Array.from([...kept, asked, PROMPT + 1].sort((a, b) => a - b));
          const selections = before.map(({ valueOnly }) => ({ full: wrong, valueOnly }));
          assertThrows(
            () => store.apply(selections),
            RequirementError,
            `Cannot load a key: layer 0, KV head 0, sequence 0 must still hold token ${asked}: current state is dropped for good`,
          );
          using pair = await randomPair(backend, one);
          const run = await decodeUnder(pair, {
            policy: name,
            budget: 0.3,
            prompt: randomText(one.seed, PROMPT),
            steps: 20,
            store: "tiered",
          });
          checkNeverBack(run.selections);
        },
      ),
      { numRuns: 4, seed: 8 },
    );
  });
}

/** Throws if a token is seen again after a step that did not see it. */
function checkNeverBack(steps: readonly (readonly Selection[])[]): void {
  steps.slice(1).forEach((groups, index) =>
    groups.forEach(({ full }, group) => {
      const before = new Set(steps[index]![group]!.full);
      const newest = PROMPT + index + 1;
      assertEquals([...full].filter((token) => token !== newest && !before.has(token)), []);
    })
  );
}
