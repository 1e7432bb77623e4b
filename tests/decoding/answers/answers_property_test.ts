/**
 * Every policy in one run of `answerAll`: prompts behind shared prefixes, sequences that end at different steps and make room
 * for others, further turns. Each answer has the tokens, and keeps the bytes, of the prompt in a session of its own.
 *
 * @module
 */

import fc from "fast-check";
import { assert, assertEquals } from "@std/assert";
import { POLICIES } from "../../../cache/policies/mod.ts";
import type { PolicySetting } from "../../../decoding/engine/settings.ts";
import { answerAll, type AnswerRequest } from "../../../decoding/text/answers.ts";
import { VARIANTS } from "../../invariants/decode.ts";
import { randomCases, randomPair, randomText } from "../../invariants/random_pair.ts";
import { answerAlone } from "./alone.ts";

/** All policies, choices that change how they compute, and small models that are made cheaper. */
const SETTINGS: readonly PolicySetting[] = [
  ...VARIANTS.map((variant) => ({ ...variant, budget: { ratio: 0.2 } })),
  ...POLICIES.filter(({ name, prune }) => name === "full" || prune)
    .map(({ name: policy }) => ({ policy, budget: { ratio: 0.4 } })),
  { policy: "h2o", budget: { tokens: 60 } },
  { policy: "smallkv", budget: { ratio: 0.1 }, smallBudget: { ratio: 0.5 } },
  { policy: "smallkv", budget: { ratio: 0.1 }, smallLayers: 1 },
  { policy: "smallkv", budget: { ratio: 0.1 }, smallLayers: 1, smallCacheBits: "8/4" },
  {
    policy: "smallkv",
    options: { score: "decayed", decay: 0.99, scoreRows: 1000 },
    budget: { ratio: 0.3 },
  },
  { policy: "h2o", options: { scoreRows: 150 }, budget: { ratio: 0.3 } },
];
const EVERY = SETTINGS.map((_, setting) => setting);

/**
 * Lengths of a prefix and of what follows: where heads are matched while decoding, and where chunks of 128 begin, end and are
 * left out.
 */
const LENGTHS = [[0, 96], [1, 70], [255, 1], [256, 40], [300, 30], [300, 75]] as const;

function requestsOf(seed: number, maxTokens: number): AnswerRequest[] {
  return LENGTHS.map(([prefix, rest], index) => ({
    key: `${prefix} + ${rest}`,
    prefix: randomText(seed, prefix),
    turns: [randomText(seed + index + 1, rest)],
    stopTexts: [],
    maxTokens: 1 + (maxTokens + 3 * index) % 7,
    settings: index % 2 === 0 ? EVERY : EVERY.filter((setting) => setting % 3 > 0),
  }));
}

Deno.test("answerAll() gives what each prompt gives alone under every policy, whatever ran in its place before", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({ one: randomCases(), maxTokens: fc.nat(6), slots: fc.constantFrom(9, 30, 64) }),
      async ({ one, maxTokens, slots }) => {
        using pair = await randomPair("cpu", one);
        const requests = requestsOf(one.seed, maxTokens);
        let promptTokens = 0;
        const answers = answerAll(pair, {
          ...{ settings: SETTINGS, requests, capacity: 390, slots },
          onProgress: (progress) => promptTokens = progress.promptTokens,
        });
        const left = new Set(
          requests.flatMap(({ key, settings }) =>
            settings.map((setting) => `${key} under ${setting}`)
          ),
        );
        for await (const { key, setting, turns, cachedTokens, bytes } of answers) {
          const name = `${key} under ${setting}`;
          assert(left.delete(name), `${name} is wanted once`);
          const request = requests.find((other) => other.key === key)!;
          const alone = await answerAlone(pair, request, SETTINGS[setting]!);
          const where = `${name}: ${JSON.stringify(SETTINGS[setting])}`;
          assertEquals(turns.map(({ tokens }) => tokens), alone.turns, where);
          assertEquals({ large: bytes.large, small: bytes.small }, alone.bytes, where);
          assertEquals(cachedTokens, alone.cachedTokens, where);
        }
        assertEquals([...left], []);
        assert(promptTokens > 0);
      },
    ),
    { numRuns: 2, seed: 14 },
  );
});

Deno.test("answerAll() gives further turns to every policy as a session of its own does", async () => {
  await fc.assert(
    fc.asyncProperty(randomCases(), async (one) => {
      using pair = await randomPair("cpu", one);
      const requests = [0, 1, 2].map((index): AnswerRequest => ({
        key: `${index}`,
        prefix: randomText(one.seed, 140),
        turns: [5, 9, 4 + index].map((length, turn) => randomText(one.seed + turn, length)),
        stopTexts: [],
        maxTokens: 4 - index,
        settings: EVERY,
      }));
      const answers = answerAll(pair, { settings: SETTINGS, requests, capacity: 180, slots: 20 });
      let count = 0;
      for await (const { key, setting, turns, cachedTokens, bytes } of answers) {
        const alone = await answerAlone(pair, requests[Number(key)]!, SETTINGS[setting]!);
        const where = `${key} under ${JSON.stringify(SETTINGS[setting])}`;
        assertEquals(turns.map(({ tokens }) => tokens), alone.turns, where);
        assertEquals({ large: bytes.large, small: bytes.small }, alone.bytes, where);
        assertEquals(cachedTokens, alone.cachedTokens, where);
        count++;
      }
      assertEquals(count, 3 * SETTINGS.length);
    }),
    { numRuns: 1, seed: 14 },
  );
});
