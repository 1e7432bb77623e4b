/** Invariant 7 of docs/method.md: where the budget leaves no marginal tokens, doing without them changes nothing. */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { splitBudget } from "../../cache/budget.ts";
import { testBackends } from "../support/gpu.ts";
import { decodeUnder } from "./decode.ts";
import { randomCases, randomPair, randomText } from "./random_pair.ts";

const STEPS = 4;

/** Prompt lengths and budgets that leave no marginal tokens at any step. */
const plain = fc.record({
  length: fc.integer({ min: 100, max: 240 }),
  percent: fc.oneof(fc.integer({ min: 2, max: 9 }), fc.constant(100)),
}).filter(({ length, percent }) =>
  Array.from({ length: STEPS }, (_, step) => length + 1 + step)
    .every((tokens) => splitBudget({ ratio: percent / 100 }, tokens).marginal === 0)
);

for (const backend of testBackends) {
  Deno.test(`7: SmallKV without marginal tokens left equals SmallKV that does without them, bit by bit, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(
        randomCases(),
        plain,
        fc.constantFrom("accumulated", "decayed", "row"),
        fc.constantFrom("joint", "mass_split", "additive", "eq6_est", "joint_nosink"),
        async (one, { length, percent }, score, combine) => {
          using pair = await randomPair(backend, one);
          const request = {
            policy: "smallkv",
            budget: percent / 100,
            prompt: randomText(one.seed, length),
            steps: STEPS,
          };
          const usual = await decodeUnder(pair, { ...request, options: { score, combine } });
          const without = await decodeUnder(pair, {
            ...request,
            options: { score, marginal: false },
          });
          assertEquals(without, usual);
        },
      ),
      { numRuns: 6, seed: 7 },
    );
  });
}
