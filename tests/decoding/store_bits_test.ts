/** The two stores against each other: the same bits for every policy, granularity and timing that both allow. */

import { assertEquals, assertRejects } from "@std/assert";
import { acceptedOptions } from "../../cache/policy_rules.ts";
import { POLICIES } from "../../cache/policies/mod.ts";
import { testBackends } from "../support/gpu.ts";
import { decodeUnder, type Variant } from "../invariants/decode.ts";
import { randomPair, randomText, SHAPES } from "../invariants/random_pair.ts";

/** Every policy at every granularity that a tiered store allows, and with the choices that change when tokens move. */
const CASES: readonly Variant[] = POLICIES.flatMap((policy) => {
  const accepted = acceptedOptions(policy);
  const granularities = accepted.includes("granularity")
    ? (["kv_head", "layer", ...policy.scores === "helper" ? ["kv_match"] as const : []] as const)
    : [];
  return [
    { policy: policy.name },
    ...granularities.map((granularity) => ({ policy: policy.name, options: { granularity } })),
    ...accepted.includes("interval") ? [{ policy: policy.name, options: { interval: 3 } }] : [],
    ...accepted.includes("stale") ? [{ policy: policy.name, options: { stale: true } }] : [],
  ];
});

for (const backend of testBackends) {
  Deno.test(`TieredStore gives the bits of ResidentStore, whatever the policy, on ${backend}`, async () => {
    for (const [index, variant] of CASES.entries()) {
      // Prompts below and above 100 tokens; models of one, two and three query heads to a KV head.
      const shape = SHAPES[index % SHAPES.length]!;
      using pair = await randomPair(backend, { shape, seed: index });
      const prompt = randomText(index, index % 4 === 3 ? 98 : 120);
      const request = { ...variant, prompt, steps: 6, budget: 0.2 };
      const { memory: _, ...resident } = await decodeUnder(pair, { ...request, store: "resident" });
      const { memory: __, ...tiered } = await decodeUnder(pair, { ...request, store: "tiered" });
      assertEquals(tiered, resident, JSON.stringify(variant));
    }
  });
}

Deno.test("TieredStore refuses selections per query head, which are a simulation", async () => {
  using pair = await randomPair("reference", { shape: SHAPES[1]!, seed: 1 });
  await assertRejects(
    () =>
      decodeUnder(pair, {
        policy: "smallkv",
        options: { granularity: "query_head" },
        budget: 0.2,
        prompt: randomText(1, 110),
        steps: 1,
        store: "tiered",
      }),
    RangeError,
    "granularity must be kv_head, kv_match or layer: current value is query_head",
  );
});
