import fc from "fast-check";
import { assert, assertEquals } from "@std/assert";
import { Session } from "../../decoding/session/session.ts";
import { largestDifference } from "../support/golden.ts";
import { testBackends } from "../support/gpu.ts";
import { decodeUnder, VARIANTS } from "./decode.ts";
import { randomCases, randomPair, randomText } from "./random_pair.ts";

/** Invariant 1 of docs/method.md: with the whole budget every policy is the full cache. */

const STEPS = 3;

for (const backend of testBackends) {
  Deno.test(`1: a budget of 1 gives the tokens and logits of the full cache, whatever the policy, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(
        randomCases(),
        fc.constantFrom(97, 101, 128),
        async (randomCase, length) => {
          using pair = await randomPair(backend, randomCase);
          const prompt = randomText(randomCase.seed, length);
          using session = new Session(pair.large, { capacity: length + STEPS + 1 });
          await session.prefill(prompt);
          const tokens = [...await session.nextTokens(), ...(await session.decode(STEPS))[0]!];
          const request = { prompt, steps: STEPS, budget: 1 };
          const full = await decodeUnder(pair, { ...request, policy: "full" });
          assertEquals(full.chosen, tokens);
          for (const variant of VARIANTS) {
            const { chosen, logits } = await decodeUnder(pair, { ...request, ...variant });
            assertEquals(chosen, tokens, JSON.stringify(variant));
            logits.forEach((row, step) => {
              const error = largestDifference(row, full.logits[step]!);
              assert(error <= 2e-5, `${JSON.stringify(variant)} is off by ${error}`);
            });
          }
        },
      ),
      { numRuns: 3, seed: 1 },
    );
  });
}
