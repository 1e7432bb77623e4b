import fc from "fast-check";
import { assert, assertEquals } from "@std/assert";
import { matchHeads } from "../../analysis/head_match.ts";
import { type HeadSaliency, saliencyOfHead } from "../../analysis/head_saliency.ts";
import { jaccardSimilarity } from "../../analysis/similarity.ts";
import { seededRandom, shuffle } from "../../core/random.ts";
import { Session } from "../../decoding/session/session.ts";
import type { Model } from "../../models/load.ts";
import { randomHeads } from "../analysis/support.ts";
import { testBackends } from "../support/gpu.ts";
import { randomCases, randomPair, randomText } from "./random_pair.ts";

/** Invariant 9 of docs/method.md: laws of any similarity of sets and any mapping of heads. */

Deno.test("9: jaccardSimilarity() is symmetric, within [0, 1], and 1 only for equal sets", () => {
  const sets = fc.array(fc.integer({ min: 0, max: 12 }));
  fc.assert(
    fc.property(sets, sets, (a, b) => {
      const similarity = jaccardSimilarity(a, b);
      assertEquals(similarity, jaccardSimilarity(b, a));
      assert(similarity >= 0 && similarity <= 1);
      assertEquals(similarity === 1, new Set(a).symmetricDifference(new Set(b)).size === 0);
    }),
    { numRuns: 300, seed: 9 },
  );
});

/** The same heads in another order, within one layer, so that relative depth stays the same. */
function permuted(heads: HeadSaliency, order: readonly number[]): HeadSaliency {
  const accumulated = Float32Array.from(order.flatMap((head) => [...saliencyOfHead(heads, head)]));
  return { ...heads, accumulated };
}

function checkPermutation(large: HeadSaliency, small: HeadSaliency, order: readonly number[]) {
  const before = matchHeads(large, small);
  const after = matchHeads(large, permuted(small, order));
  assertEquals([...after.match].map((head) => order[head]), [...before.match]);
  assertEquals(after.similarity, before.similarity);
  assertEquals(after.cosine, before.cosine);
}

Deno.test("9: matchHeads() follows a permutation of small heads", () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const random = seededRandom(seed);
      const large = randomHeads(random, { layers: 2, queryHeads: 3, tokens: 100 });
      const small = randomHeads(random, { layers: 1, queryHeads: 6, tokens: 100 });
      checkPermutation(large, small, shuffle(random, [0, 1, 2, 3, 4, 5]));
    }),
    { numRuns: 25, seed: 9 },
  );
});

/** Heads of a model on a text, treated as one layer so that depth does not matter. */
async function headsOf(model: Model, text: readonly number[]): Promise<HeadSaliency> {
  using session = new Session(model, { capacity: text.length, accumulate: true });
  await session.prefill(text, { logits: "none" });
  const { layers, queryHeads } = model.config;
  const accumulated = await session.accumulated();
  return { layers: 1, queryHeads: layers * queryHeads, tokens: text.length, accumulated };
}

for (const backend of testBackends) {
  Deno.test(`9: heads of running models match the same under another numbering, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(randomCases(), async (one) => {
        using pair = await randomPair(backend, one);
        const text = randomText(one.seed, 110);
        const large = await headsOf(pair.large, text);
        const small = await headsOf(pair.small, text);
        const heads = Array.from({ length: small.queryHeads }, (_, head) => head);
        checkPermutation(large, small, shuffle(seededRandom(one.seed), heads));
      }),
      { numRuns: 4, seed: 9 },
    );
  });
}
