import fc from "fast-check";
import { assert } from "@std/assert";
import { Session } from "../../decoding/session/session.ts";
import { traceAttention } from "../../decoding/session/trace.ts";
import { largestHeadError } from "../support/golden.ts";
import { testBackends } from "../support/gpu.ts";
import { randomCases, randomModel, randomText } from "./random_pair.ts";

/**
 * Invariants 2 and 3 of docs/method.md: accumulated attention, on random models of one, two and three query heads to a
 * KV head.
 */

for (const backend of testBackends) {
  Deno.test(`2: attention that all tokens have received sums to the number of rows, per head, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(
        randomCases(),
        fc.integer({ min: 1, max: 150 }),
        fc.integer({ min: 1, max: 70 }),
        async (randomCase, length, chunk) => {
          using model = await randomModel(backend, randomCase);
          const capacity = length + 5;
          using session = new Session(model, { capacity, accumulate: true, chunk });
          await session.prefill(randomText(randomCase.seed, length));
          checkTotals(await session.accumulated(), length);
          await session.decode(4);
          checkTotals(await session.accumulated(), length + 4);
        },
      ),
      { numRuns: 6, seed: 2 },
    );
  });

  Deno.test(`3: column sums in two passes equal those of whole maps, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(
        randomCases(),
        fc.integer({ min: 1, max: 140 }),
        async (randomCase, length) => {
          using model = await randomModel(backend, randomCase);
          const text = randomText(randomCase.seed, length);
          const { accumulated, maps } = await traceAttention(model, text, { heads: "all" });
          const eager = maps.flatMap(({ values }) => {
            const sums = new Float64Array(length);
            values.forEach((value, index) => sums[index % length]! += value);
            return [...sums];
          });
          const error = largestHeadError(accumulated, eager, length);
          assert(error <= 1e-3, `relative error ${error}`);
        },
      ),
      { numRuns: 6, seed: 3 },
    );
  });
}

function checkTotals(sums: Float32Array, rows: number): void {
  for (let start = 0; start < sums.length; start += rows) {
    const total = sums.subarray(start, start + rows).reduce((sum, value) => sum + value, 0);
    assert(Math.abs(total - rows) <= 1e-5 * rows, `${total} of ${rows} rows`);
  }
}
