import fc from "fast-check";
import { assert, assertEquals } from "@std/assert";
import { matchHeads } from "../../analysis/head_match.ts";
import { splitBudget } from "../../cache/budget.ts";
import { Session } from "../../decoding/session/session.ts";
import type { Model } from "../../models/load.ts";
import { testBackends } from "../support/gpu.ts";
import { COMPRESSING, decodeUnder } from "./decode.ts";
import { randomCases, type RandomPair, randomPair, randomText } from "./random_pair.ts";

/**
 * Invariant 12 of docs/method.md: nothing is dropped below 100 tokens, and heads are matched once, on the first 100 to
 * 200.
 */

/** Scores closer than this share of the largest may swap ranks by rounding. */
const NEAR = 1e-5;

/** Attention that tokens receive: exact for matching, from cached keys for ranking. */
async function sumsOf(
  model: Model,
  text: readonly number[],
  isExact: boolean,
): Promise<Float32Array> {
  using session = new Session(model, { capacity: text.length, accumulate: true, isExact });
  await session.prefill(text, { logits: "none" });
  return await session.accumulated();
}

/** Mean score of each KV head's matched small heads; [layers * kvHeads][tokens]. */
async function scoresOf(pair: RandomPair, text: readonly number[], window: number) {
  const { layers, queryHeads, kvHeads } = pair.large.config;
  const first = text.slice(0, window);
  const { match } = matchHeads(
    { ...pair.large.config, tokens: window, accumulated: await sumsOf(pair.large, first, true) },
    { ...pair.small.config, tokens: window, accumulated: await sumsOf(pair.small, first, true) },
  );
  const sums = await sumsOf(pair.small, text, false);
  const group = queryHeads / kvHeads;
  return Array.from(
    { length: layers * kvHeads },
    (_, headGroup) =>
      Float64Array.from(text, (_, token) => {
        let sum = 0;
        for (let k = 0; k < group; k++) {
          sum += sums[match[headGroup * group + k]! * text.length + token]!;
        }
        return sum / group;
      }),
  );
}

for (const backend of testBackends) {
  Deno.test(`12: no policy drops a token below 100, and all do from then on, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(
        randomCases(),
        fc.integer({ min: 90, max: 105 }),
        async (one, length) => {
          using pair = await randomPair(backend, one);
          const prompt = randomText(one.seed, length);
          const steps = Math.max(3, 103 - length);
          for (const policy of COMPRESSING) {
            const { selections } = await decodeUnder(pair, { policy, prompt, steps, budget: 0.5 });
            selections.forEach((groups, step) => {
              const tokens = length + step + 1;
              // Policies that drop tokens after a step reach 100 one step later.
              const shouldPlan = selections.length - 1 === step;
              for (const { full, valueOnly } of groups) {
                const held = full.length + valueOnly.length;
                if (tokens < 100) assertEquals(held, tokens, `${policy} at ${tokens}`);
                if (shouldPlan) assert(held < tokens, `${policy} at ${tokens}`);
              }
            });
          }
        },
      ),
      { numRuns: 2, seed: 12 },
    );
  });

  Deno.test(`12: every selection follows the one match on the first tokens, on ${backend}`, async () => {
    const lengths = fc.constantFrom([97, 12], [100, 12], [150, 60], [230, 3]);
    await fc.assert(
      fc.asyncProperty(randomCases(), lengths, async (one, [length, steps]) => {
        using pair = await randomPair(backend, one);
        const text = randomText(one.seed, length! + steps!);
        const window = Math.min(200, Math.max(length!, 100));
        const { selections } = await decodeUnder(pair, {
          policy: "smallkv",
          budget: 0.3,
          prompt: text.slice(0, length),
          steps: text.slice(length),
        });
        for (let step = Math.max(0, 99 - length!); step < steps!; step += 4) {
          const tokens = length! + step + 1;
          const scores = await scoresOf(pair, text.slice(0, tokens), window);
          const { critical, recent } = splitBudget({ ratio: 0.3 }, tokens);
          selections[step]!.forEach(({ full, valueOnly }, headGroup) => {
            const own = scores[headGroup]!;
            const order = [...own.keys()].slice(0, tokens - recent)
              .sort((a, b) => own[b]! - own[a]! || a - b);
            const near = NEAR * own[order[0]!]!;
            checkRanks([...full].slice(0, critical), { order, own, near });
            checkRanks([...full.slice(0, critical), ...valueOnly], { order, own, near });
          });
        }
      }),
      { numRuns: 5, seed: 12 },
    );
  });
}

/** Throws unless the chosen tokens are the first ones of an order, except for near ties. */
function checkRanks(
  chosen: readonly number[],
  { order, own, near }: {
    readonly order: readonly number[];
    readonly own: Float64Array;
    readonly near: number;
  },
): void {
  const edge = own[order[chosen.length - 1]!]!;
  for (const token of chosen) assert(own[token]! >= edge - near, `${own[token]} below ${edge}`);
}
