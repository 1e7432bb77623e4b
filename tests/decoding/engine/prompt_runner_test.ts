/**
 * Prompts behind shared prefixes against whole prompts: scores, matches and next tokens, and the steps that follow in both
 * stores.
 *
 * @module
 */

import fc from "fast-check";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { RequirementError } from "../../../core/check.ts";
import { type PromptRequest, PromptRunner } from "../../../decoding/engine/prompt_runner.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { sequenceSetting } from "../../../decoding/engine/settings.ts";
import { matchText } from "../../../decoding/scoring/head_matching.ts";
import { fitText } from "../../../decoding/scoring/map_fitting.ts";
import type { PromptSnapshot } from "../../../decoding/engine/snapshots.ts";
import { listGranularity } from "../../../decoding/selection/sequence_settings.ts";
import { type Variant, VARIANTS } from "../../invariants/decode.ts";
import { randomCases, randomPair, randomText } from "../../invariants/random_pair.ts";
import { largest, largestDifference } from "../../support/golden.ts";
import { testBackends } from "../../support/gpu.ts";

/** All policies, also with scores of more rows than a chunk has (prefixes are then cut at 224 or 256), and scores that fade over the whole prompt. */
const ALL: readonly Variant[] = [
  ...VARIANTS,
  { policy: "h2o", options: { scoreRows: 150 } },
  { policy: "smallkv", options: { score: "decayed", decay: 0.99, scoreRows: 1000 } },
];
const SETTINGS = ALL.map((variant) => sequenceSetting({ ...variant, budget: { ratio: 0.3 } }));
const EVERY = SETTINGS.map((_, setting) => setting);
const CAPACITY = 480;
const CHUNK = 32;

/** Scores by the large model or by none, as the first choice of tokens ranks by them; empty if the policy has none. */
function largeScores({ sequence, large }: PromptSnapshot): Float32Array {
  if (!sequence.largeScores) return new Float32Array(0);
  sequence.start(large.length);
  sequence.planBy(large.length);
  return sequence.largeScores.values;
}

function assertSame(found: Float32Array, expected: Float32Array, isExact: boolean, name: string) {
  if (isExact) return assertEquals(found, expected, name);
  assertEquals(found.length, expected.length);
  const error = largestDifference(found, expected) / (largest(expected) || 1);
  assert(error <= 1e-6, `${name} is off by ${error}`);
}

for (const backend of testBackends.filter((one) => one !== "reference")) {
  Deno.test(`PromptRunner gives the same behind a prefix as for the whole prompt, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(randomCases(), fc.constantFrom(373, 374, 400), async (one, length) => {
        using pair = await randomPair(backend, one);
        const sizes = { settings: SETTINGS, capacity: CAPACITY, chunk: CHUNK };
        using runner = new PromptRunner(pair, sizes);
        const prefix = randomText(one.seed, length);
        const before = { prefix, rest: randomText(one.seed + 1, 61), settings: EVERY };
        const rest = randomText(one.seed + 2, 45);
        (await runner.run(before))[Symbol.dispose]();
        using behind = await runner.run({ prefix, rest, settings: EVERY });
        using whole = await runner.run({ prefix: [], rest: [...prefix, ...rest], settings: EVERY });
        assert(behind.tokens < whole.tokens, "the prefix is not run again");
        for (const [setting, found] of behind.snapshots) {
          const expected = whole.snapshots.get(setting)!;
          const name = JSON.stringify(ALL[setting]);
          assertEquals(found.large.tokens, expected.large.tokens, name);
          assertEquals(found.state?.matches, expected.state?.matches, name);
          const isExact = backend === "cpu";
          for (const [kind, scores] of expected.state?.scores ?? []) {
            assertSame(found.state!.scores.get(kind)!, scores, isExact, `${kind} for ${name}`);
          }
          assertSame(largeScores(found), largeScores(expected), isExact, name);
        }
      }),
      { numRuns: backend === "cpu" ? 3 : 1, seed: 14 },
    );
  });
}

Deno.test("a map that is fitted behind a prefix is that of the whole prompt, next to matches of the same run", async () => {
  const [one] = fc.sample(randomCases(), { numRuns: 1, seed: 14 });
  using pair = await randomPair("cpu", one!);
  const smallkv = sequenceSetting({ policy: "smallkv", budget: { ratio: 0.3 } });
  const by = ["fitted", "jaccard", "cosine"] as const;
  const settings = by.map((by) => ({ ...smallkv, match: { by } }));
  using runner = new PromptRunner(pair, { settings, capacity: CAPACITY, chunk: CHUNK });
  const [prefix, rest] = [randomText(3, 384), randomText(4, 21)];
  using behind = await runner.run({ prefix, rest, settings: [0, 1, 2] });
  using whole = await runner.run({ prefix: [], rest: [...prefix, ...rest], settings: [0, 1, 2] });
  using again = await runner.run({ prefix, rest, settings: [0, 1, 2] });
  assert(again.tokens < whole.tokens, "the prefix is not run again");
  const fitted = await fitText(
    { large: pair.large, small: pair.small!, match: { by: "fitted" } },
    [...prefix, ...rest],
  );
  // Nothing is summed to match heads by where every setting is fitted.
  using alone = new PromptRunner(pair, {
    ...{ settings: settings.slice(0, 1), capacity: CAPACITY, chunk: CHUNK },
  });
  using fittedAlone = await alone.run({ prefix, rest, settings: [0] });
  assertEquals(fittedAlone.snapshots.get(0)!.state, behind.snapshots.get(0)!.state);
  for (const ran of [behind, whole, again]) {
    const [map, ...matches] = by.map((_, setting) => ran.snapshots.get(setting)!.state!);
    assertEquals(map!.map, fitted);
    assertEquals(map!.scores, whole.snapshots.get(0)!.state!.scores);
    for (const [index, state] of matches.entries()) {
      assertEquals(state.map, undefined);
      const policies = [smallkv.policy];
      const models = { large: pair.large, small: pair.small!, match: { by: by[index + 1]! } };
      assertEquals(state.matches, await matchText(models, [...prefix, ...rest], { policies }));
    }
  }
});

Deno.test("a session that begins with a snapshot decodes as one that runs the prompt, in both stores", async () => {
  const [one] = fc.sample(randomCases(), { numRuns: 1, seed: 14 });
  using pair = await randomPair("cpu", one!);
  using runner = new PromptRunner(pair, { settings: SETTINGS, capacity: CAPACITY, chunk: 128 });
  const request: PromptRequest = {
    prefix: randomText(3, 260),
    rest: randomText(4, 30),
    settings: EVERY,
  };
  const prompt = [...request.prefix, ...request.rest];
  for (const store of ["resident", "tiered"] as const) {
    using ran = await runner.run(request);
    for (const [setting, { policy, budget }] of SETTINGS.entries()) {
      if (store === "tiered" && listGranularity(policy) === "query_head") continue;
      const open = () => new PolicySession(pair, { policy, budget, capacity: CAPACITY, store });
      using session = open();
      using expected = open();
      await session.put(0, ran.snapshots.get(setting)!);
      await expected.prefill(prompt);
      for (let step = 0; step < 4; step++) {
        assertEquals(
          await session.step({ logits: true }),
          await expected.step({ logits: true }),
          `step ${step} under ${JSON.stringify(ALL[setting])}, ${store}`,
        );
      }
    }
  }
});

Deno.test("a sequence of a tiered store is not replaced once its pools have been made", async () => {
  const [one] = fc.sample(randomCases(), { numRuns: 1, seed: 14 });
  using pair = await randomPair("cpu", one!);
  const settings = [sequenceSetting({ policy: "h2o", budget: { ratio: 0.3 } })];
  using runner = new PromptRunner(pair, { settings, capacity: 64, chunk: 32 });
  using ran = await runner.run({ prefix: [], rest: randomText(5, 40), settings: [0] });
  using session = new PolicySession(pair, { ...settings[0]!, capacity: 64, store: "tiered" });
  await session.put(0, ran.snapshots.get(0)!);
  await session.step();
  await assertRejects(
    () => session.put(0, ran.snapshots.get(0)!),
    RequirementError,
    "Cannot replace a sequence: the store must be resident",
  );
});
