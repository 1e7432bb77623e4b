/** The two stores against each other: the same bits for every policy, granularity and timing that both allow. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { acceptedOptions } from "../../../cache/policy_options.ts";
import { POLICIES } from "../../../cache/policies/mod.ts";
import { RequirementError } from "../../../core/check.ts";
import { largestDifference } from "../../support/golden.ts";
import { testBackends } from "../../support/gpu.ts";
import { decodeUnder, listed, type Variant } from "../../invariants/decode.ts";
import { randomPair, randomText, SHAPES } from "../../invariants/random_pair.ts";

/** Every policy at every granularity that a tiered store allows, and with the choices that change when tokens move. */
const CASES: readonly Variant[] = POLICIES.flatMap((policy) => {
  const accepted = acceptedOptions(policy);
  const granularities = accepted.includes("granularity")
    ? ([
      "kv_head",
      "layer",
      ...policy.saliencySource === "small" ? ["kv_match"] as const : [],
    ] as const)
    : [];
  return [
    { policy: policy.name },
    ...granularities.map((granularity) => ({ policy: policy.name, options: { granularity } })),
    ...accepted.includes("interval") ? [{ policy: policy.name, options: { interval: 3 } }] : [],
    ...accepted.includes("positions")
      ? [{ policy: policy.name, options: { positions: "slot" as const } }]
      : [],
    ...accepted.includes("rest")
      ? [{ policy: policy.name, options: { rest: "mean" as const } }]
      : [],
    ...accepted.includes("stale") ? [{ policy: policy.name, options: { stale: true } }] : [],
  ];
});

const ROUNDING = 1e-5;

for (const backend of testBackends) {
  Deno.test(`TieredStore gives the bits of ResidentStore, whatever the policy, on ${backend}`, async () => {
    for (const [index, variant] of CASES.entries()) {
      // Prompts below and above 100 tokens; models of one, two and three query heads to a KV head.
      const shape = SHAPES[index % SHAPES.length]!;
      using pair = await randomPair(backend, { shape, seed: index });
      const prompt = randomText(index, index % 4 === 3 ? 98 : 120);
      const request = { ...variant, prompt, steps: 6, budget: 0.2 };
      const resident = await decodeUnder(pair, { ...request, store: "resident" });
      const tiered = await decodeUnder(pair, { ...request, store: "tiered" });
      const name = JSON.stringify(variant);
      assertEquals(tiered.selections, resident.selections, name);
      assertEquals(tiered.after, resident.after, name);
      assertEquals(tiered.chosen, resident.chosen, name);
      if (variant.policy !== "full") assertEquals(tiered.logits, resident.logits, name);
      // Where every token is kept, a resident store needs no lists: another kernel, equal up to rounding.
      tiered.logits.forEach((row, step) => {
        assert(largestDifference(row, resident.logits[step]!) <= ROUNDING, name);
      });
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
    RequirementError,
    "granularity must be kv_head, kv_match or layer: current value is query_head",
  );
});

Deno.test("a stale step sees what the step before would have chosen, and the newest token (D-14)", async () => {
  for (const length of [98, 120]) {
    using pair = await randomPair("reference", { shape: SHAPES[1]!, seed: length });
    const request = {
      policy: "smallkv",
      budget: 0.2,
      prompt: randomText(1, length),
      steps: randomText(2, 6),
    };
    const fresh = await decodeUnder(pair, request);
    const stale = await decodeUnder(pair, { ...request, options: { stale: true } });
    stale.selections.forEach((groups, step) => {
      const newest = length + step;
      groups.forEach((selection, group) => {
        const { full, valueOnly } = listed(selection);
        assertEquals(full.at(-1), newest);
        // The other run has no step with the selection after the prompt.
        if (step === 0) return assertEquals(full.length < 100, true);
        const before = listed(fresh.selections[step - 1]![group]!);
        assertEquals([full.slice(0, -1), valueOnly], [before.full, before.valueOnly]);
      });
    });
  }
});
