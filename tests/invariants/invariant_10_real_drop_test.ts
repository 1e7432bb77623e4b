import fc from "fast-check";
import { assert, assertEquals } from "@std/assert";
import { compareViews, firstKeptTokens, mergeDropSaliency } from "../../analysis/saliency_shift.ts";
import { RealDrop } from "../../decoding/session/real_drop.ts";
import { Session } from "../../decoding/session/session.ts";
import { largest, largestDifference } from "../support/golden.ts";
import { testBackends } from "../support/gpu.ts";
import { randomCases, randomModel, randomText } from "./random_pair.ts";

/**
 * Invariant 10 of docs/method.md: with the whole budget, a real drop changes nothing. The same on plain maps is in `tests/analysis/saliency_shift_test.ts`.
 */

for (const backend of testBackends) {
  Deno.test(`10: the Jaccard of real drop and global view is 1 at a budget of 1, and less at smaller budgets, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(
        randomCases(),
        fc.integer({ min: 10, max: 60 }),
        async (randomCase, firstTokens) => {
          using model = await randomModel(backend, randomCase);
          const tokens = 2 * firstTokens;
          const text = randomText(randomCase.seed, tokens);
          const sizes = { capacity: tokens, accumulate: true, isExact: true };
          using first = new Session(model, sizes);
          await first.prefill(text.slice(0, firstTokens));
          const firstSums = perHead(await first.accumulated(), firstTokens);
          using whole = new Session(model, sizes);
          await whole.prefill(text);
          const wholeSums = perHead(await whole.accumulated(), tokens);
          using drop = await RealDrop.start(model, text, { firstTokens });
          for (const budgetRatio of [1, 0.3]) {
            const kept = firstSums.map((sums) => firstKeptTokens(sums, budgetRatio));
            const rest = perHead(await drop.rest(kept), tokens);
            const jaccards = wholeSums.map((global, head) => {
              const dropped = { firstTokens, kept: kept[head]! };
              const merged = mergeDropSaliency(firstSums[head]!, rest[head]!, dropped);
              // The sets are all tokens then; the sums must agree as well.
              const error = largestDifference(merged, global) / largest(global);
              if (budgetRatio === 1) assert(error <= 1e-5, `sums are off by ${error}`);
              return compareViews(global, merged, { budgetRatio }).jaccard;
            });
            if (budgetRatio === 1) assertEquals(jaccards, jaccards.map(() => 1));
            else assert(jaccards.some((jaccard) => jaccard < 1));
          }
        },
      ),
      { numRuns: 4, seed: 10 },
    );
  });
}

function perHead(sums: Float32Array, tokens: number): Float32Array[] {
  const heads = sums.length / tokens;
  return Array.from(
    { length: heads },
    (_, head) => sums.subarray(head * tokens, (head + 1) * tokens),
  );
}
