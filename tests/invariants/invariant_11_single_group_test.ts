/** Invariant 11 of docs/method.md: with one query head to a KV head, choosing per KV head is choosing per query head. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { PolicyOptions } from "../../cache/policy_options.ts";
import { testBackends } from "../support/gpu.ts";
import { decodeUnder } from "./decode.ts";
import { randomCases, randomPair, type RandomShape, randomText, SHAPES } from "./random_pair.ts";

const GRANULARITIES = ["kv_head", "query_head", "kv_match"] as const;
type Variant = typeof VARIED[number];
const VARIED: readonly { readonly policy: string; readonly options: PolicyOptions }[] = [
  { policy: "smallkv", options: { combine: "joint" } },
  { policy: "smallkv", options: { combine: "mass_split", score: "row" } },
  { policy: "smallkv_query_aware", options: { reduction: "max" } },
  { policy: "h2o", options: {} },
  { policy: "tova", options: {} },
  { policy: "snapkv", options: {} },
  { policy: "without_small_model", options: {} },
  { policy: "pyramid_budget", options: {} },
];

for (const backend of testBackends) {
  Deno.test(`11: granularities agree bit by bit where groups have one head, and differ where they have more, on ${backend}`, async () => {
    const run = async (
      shape: RandomShape,
      one: { seed: number },
      variant: Variant & { readonly isPlannedOnHost: boolean },
    ) => {
      using pair = await randomPair(backend, { shape, seed: one.seed });
      const { isPlannedOnHost } = variant;
      const prompt = randomText(one.seed, 117);
      const request = { prompt, steps: 3, budget: 0.3, isPlannedOnHost };
      const hasSmallModel = variant.policy.startsWith("smallkv");
      const chosen = hasSmallModel ? GRANULARITIES : GRANULARITIES.slice(0, 2);
      const runs = [];
      for (const granularity of chosen) {
        const { memory: _, ...rest } = await decodeUnder(pair, {
          ...request,
          policy: variant.policy,
          options: { ...variant.options, granularity },
        });
        runs.push(rest);
      }
      return runs;
    };
    await fc.assert(
      fc.asyncProperty(
        randomCases(SHAPES.slice(0, 1)),
        fc.constantFrom(...VARIED),
        async (one, variant) => {
          for (const isPlannedOnHost of [false, true]) {
            const [first, ...others] = await run(one.shape, one, { ...variant, isPlannedOnHost });
            for (const other of others) assertEquals(other, first);
          }
          const differing = { ...variant, isPlannedOnHost: false };
          const [kvHead, queryHead] = await run(SHAPES[2]!, one, differing);
          assert(
            kvHead!.logits.at(-1)!.some((value, id) => value !== queryHead!.logits.at(-1)![id]),
          );
        },
      ),
      { numRuns: 5, seed: 11 },
    );
  });
}
