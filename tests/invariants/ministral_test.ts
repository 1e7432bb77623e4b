/**
 * Invariant 1 of docs/method.md, and what ranks tokens, on pairs of random Ministral 3 models: texts of several contexts
 * before stretching, so that queries are scaled by their position.
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { traceAttention } from "../../decoding/session/trace.ts";
import type { Backend } from "../../gpu/device.ts";
import { largestDifference } from "../support/golden.ts";
import { testBackends } from "../support/gpu.ts";
import { decodeUnder } from "./decode.ts";
import { randomModelOf, type RandomPair, randomText, VOCABULARY } from "./random_pair.ts";

const CONTEXT = 16;
const LENGTH = 120;
const STEPS = 6;

const LARGE = { num_hidden_layers: 3, num_attention_heads: 4, num_key_value_heads: 2 };
const SMALL = { num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 1 };

async function ministralPair(backend: Backend, beta: number): Promise<RandomPair> {
  const model = (sizes: typeof LARGE, seed: number) =>
    randomModelOf(backend, {
      seed,
      values: {
        ...sizes,
        model_type: "ministral3",
        hidden_size: 24,
        intermediate_size: 40,
        head_dim: 16,
        vocab_size: VOCABULARY,
        max_position_embeddings: 512,
        rope_parameters: {
          rope_type: "yarn",
          rope_theta: 10000,
          factor: 32,
          original_max_position_embeddings: CONTEXT,
          mscale: 1,
          mscale_all_dim: 1,
          llama_4_scaling_beta: beta,
        },
      },
    });
  using stack = new DisposableStack();
  const large = stack.use(await model(LARGE, 5));
  const small = stack.use(await model(SMALL, 6));
  const owned = stack.move();
  return { large, small, [Symbol.dispose]: () => owned.dispose() };
}

const POLICIES = [
  "h2o",
  "smallkv",
  "smallkv_query_aware",
  "tova",
  "quest",
  "key_sketch",
  "expected_attention",
];
const prompt = randomText(3, LENGTH);

for (const backend of testBackends) {
  Deno.test(`1: with scaled queries a budget of 1 gives the full cache, on ${backend}`, async () => {
    using pair = await ministralPair(backend, 0.5);
    const request = { prompt, steps: STEPS, budget: 1 };
    const full = await decodeUnder(pair, { ...request, policy: "full" });
    for (const policy of POLICIES) {
      const { chosen, logits } = await decodeUnder(pair, { ...request, policy });
      assertEquals(chosen, full.chosen, policy);
      logits.forEach((row, step) => {
        const error = largestDifference(row, full.logits[step]!);
        assert(error <= 1e-4, `${policy} is off by ${error}`);
      });
    }
  });
}

Deno.test("policies rank tokens by queries that are scaled", async () => {
  using scaled = await ministralPair("cpu", 2);
  using plain = await ministralPair("cpu", 0);
  for (const policy of ["h2o", "smallkv", "expected_attention"]) {
    // The first layer's queries differ by their scale alone.
    const kept = async (pair: RandomPair) => {
      // The first step still sees the whole prompt.
      const run = await decodeUnder(pair, { policy, prompt, steps: [1, 2], budget: 0.3 });
      const groups = run.selections[1]!;
      return groups.slice(0, groups.length / LARGE.num_hidden_layers);
    };
    const [one, other] = [await kept(scaled), await kept(plain)];
    assert(JSON.stringify(one) !== JSON.stringify(other), `${policy} passes over the scale`);
  }
});

Deno.test("scaled queries sharpen attention beyond the original context, and there alone", async () => {
  using scaled = await ministralPair("cpu", 2);
  using plain = await ministralPair("cpu", 0);
  const entropies = async ({ large }: RandomPair) => {
    const { maps } = await traceAttention(large, prompt, { heads: [[0, 0]] });
    return Array.from({ length: LENGTH }, (_, row) => {
      const weights = maps[0]!.values.subarray(row * LENGTH, row * LENGTH + row + 1);
      return weights.reduce((sum, weight) => sum - weight * Math.log(weight || 1), 0);
    });
  };
  const [sharp, flat] = [await entropies(scaled), await entropies(plain)];
  assertEquals(sharp.slice(0, CONTEXT), flat.slice(0, CONTEXT));
  assert(sharp.slice(CONTEXT).every((entropy, row) => entropy < flat[CONTEXT + row]!));
});

Deno.test("positions of slots are refused where queries are scaled by their place in the text", async () => {
  using pair = await ministralPair("cpu", 0.5);
  const options = { positions: "slot" } as const;
  const run = (length: number) =>
    decodeUnder(pair, {
      policy: "streaming",
      options,
      prompt: prompt.slice(0, length),
      steps: 1,
      budget: 0.5,
    });
  await run(CONTEXT - 4);
  await assertRejects(
    () => run(LENGTH),
    RequirementError,
    `Cannot take slots for positions: the capacity must be at most ${CONTEXT} tokens`,
  );
});
