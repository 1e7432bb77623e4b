import fc from "fast-check";
import { assert, assertEquals } from "@std/assert";
import { createPolicy } from "../../cache/policy_options.ts";
import type { ModelPair } from "../../decoding/engine/types.ts";
import { PolicySession } from "../../decoding/engine/policy_session.ts";
import { Session } from "../../decoding/session/session.ts";
import { largest, largestDifference } from "../support/golden.ts";
import { testBackends } from "../support/gpu.ts";
import { listed, type Variant, VARIANTS } from "./decode.ts";
import { randomCases, randomPair, randomText } from "./random_pair.ts";

/** Invariant 13 of docs/method.md: a sequence does not depend on its neighbors, whatever their lengths. */

const STEPS = 3;
/** Kernels sum rows of a batch in a different order from those of one sequence. */
const ROUNDING = 1e-5;

/** One for each way in which a sequence's scores reach its planner. */
const WAYS: readonly Variant[] = [
  { policy: "smallkv" }, // ranked on the device
  { policy: "smallkv_query_aware", options: { granularity: "query_head" } },
  { policy: "smallkv", options: { weights: "group", ties: "later" } }, // on the host
  { policy: "smallkv", options: { score: "row", stale: true } }, // after the step
  { policy: "smallkv", options: { score: "row" }, smallCacheBits: 4 }, // from rounded keys
  { policy: "smallkv", options: { score: "row" }, smallCacheBits: "8/4" },
  { policy: "h2o" }, // sums of its own
  { policy: "tova" }, // its newest row
  { policy: "pyramid_budget" }, // its newest rows
  { policy: "without_small_model", options: { granularity: "layer" } },
];

interface BatchRequest extends Variant {
  readonly prompts: readonly (readonly number[])[];
}

/** Tokens, logits and selections of each sequence of a batch. */
async function decodeBatch(pair: ModelPair, { prompts, ...variant }: BatchRequest) {
  const { policy, options, ...cut } = variant;
  const capacity = Math.max(...prompts.map(({ length }) => length)) + STEPS + 1;
  using session = new PolicySession(pair, {
    policy: createPolicy(policy, options),
    budget: { ratio: 0.25 },
    sequences: prompts.length,
    capacity,
    ...cut,
  });
  for (const [sequence, prompt] of prompts.entries()) await session.prefill(prompt, { sequence });
  const first = await session.nextTokens();
  const runs = first.map((token) => ({
    chosen: [token],
    logits: [] as Float32Array[],
    kept: [] as ReturnType<typeof listed>[][],
  }));
  const { vocabulary } = pair.large.config;
  for (let step = 0; step < STEPS; step++) {
    const { chosen, logits, selections } = await session.step({ logits: true });
    runs.forEach((run, sequence) => {
      run.chosen.push(chosen[sequence]!);
      run.logits.push(logits!.slice(sequence * vocabulary, (sequence + 1) * vocabulary));
      run.kept.push(selections[sequence]!.map(listed));
    });
  }
  return runs;
}

for (const backend of testBackends) {
  Deno.test(`13: identical sequences of a batch get identical bits, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(randomCases(), fc.constantFrom(...VARIANTS), async (one, variant) => {
        using pair = await randomPair(backend, one);
        const prompt = randomText(one.seed, 112);
        const [first, ...others] = await decodeBatch(pair, {
          ...variant,
          prompts: [prompt, prompt, prompt],
        });
        for (const other of others) assertEquals(other, first);
      }),
      { numRuns: 5, seed: 13 },
    );
  });

  Deno.test(`13: a sequence of a batch gets what it gets alone, among shorter and longer ones, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(randomCases(), async (one) => {
        using pair = await randomPair(backend, one);
        const prompts = [131, 95, 104].map((length, index) => randomText(one.seed + index, length));
        for (const variant of WAYS) {
          const together = await decodeBatch(pair, { ...variant, prompts });
          for (const [sequence, prompt] of prompts.entries()) {
            const [alone] = await decodeBatch(pair, { ...variant, prompts: [prompt] });
            const beside = together[sequence]!;
            assertEquals(beside.chosen, alone!.chosen, JSON.stringify(variant));
            assertEquals(beside.kept, alone!.kept, JSON.stringify(variant));
            beside.logits.forEach((row, step) => {
              const error = largestDifference(row, alone!.logits[step]!) / largest(row);
              assert(error <= ROUNDING, `${JSON.stringify(variant)} is off by ${error}`);
            });
          }
        }
      }),
      { numRuns: 1, seed: 13 },
    );
  });

  Deno.test(`13: accumulated attention of a sequence does not change with its neighbors, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(randomCases(), fc.nat(60), async (one, more) => {
        using pair = await randomPair(backend, one);
        const prompts = [80 + more, 50, 110].map((length, i) => randomText(one.seed + i, length));
        const sumsOf = async (texts: readonly (readonly number[])[]) => {
          const sizes = { capacity: 150, accumulate: true, sequences: texts.length };
          using session = new Session(pair.small, sizes);
          for (const [sequence, text] of texts.entries()) await session.prefill(text, { sequence });
          await session.decode(2);
          return await Promise.all(texts.map((_, sequence) => session.accumulated(sequence)));
        };
        const together = await sumsOf(prompts);
        for (const [sequence, prompt] of prompts.entries()) {
          const [alone] = await sumsOf([prompt]);
          const error = largestDifference(together[sequence]!, alone!) / largest(alone!);
          assert(error <= ROUNDING, `sums of sequence ${sequence} are off by ${error}`);
        }
      }),
      { numRuns: 3, seed: 13 },
    );
  });
}
