/**
 * Tests of `cache/tiered_pools.ts`.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { POLICIES } from "../../cache/policies/mod.ts";
import { planBySaliency, type Selection } from "../../cache/policy.ts";
import { createPolicy, type ResolvedPolicy } from "../../cache/policy_options.ts";
import { SlotTable } from "../../cache/slots.ts";
import { poolSizes, tierLimit } from "../../cache/tiered_pools.ts";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";

const NOTHING: Selection = { full: new Uint32Array(), valueOnly: new Uint32Array() };

/** Selections that the attention of each decode step sees, as a driver makes them. */
function* selections(
  policy: ResolvedPolicy,
  request: { budget: { ratio: number }; promptTokens: number; capacity: number; layers: number },
): Generator<Selection> {
  const { budget, promptTokens, capacity, layers } = request;
  const random = seededRandom(2);
  let selection = NOTHING;
  let planned = 0;
  const plan = (tokens: number) => {
    const shouldPlan = planned === 0 || tokens - planned >= policy.interval;
    if (tokens < policy.minimumTokens || !shouldPlan) return;
    const held = new Set([...selection.full, ...selection.valueOnly]);
    const isOpen = (token: number) => policy.candidates === "all" || held.has(token);
    const saliency = Float32Array.from({ length: tokens }, random);
    const counts = policy.counts({ budget, tokens, promptTokens, layer: 1, layers });
    selection = planBySaliency({ tokens, saliency, ties: policy.ties, isOpen }, counts);
    planned = tokens;
  };
  selection = { ...NOTHING, full: Uint32Array.from({ length: promptTokens }, (_, token) => token) };
  if (policy.timing === "after") plan(promptTokens);
  for (let tokens = promptTokens + 1; tokens <= capacity; tokens++) {
    selection = { ...selection, full: Uint32Array.of(...selection.full, tokens - 1) };
    if (policy.timing === "before") plan(tokens);
    yield selection;
    if (policy.timing === "after") plan(tokens);
  }
}

const VARIANTS = [
  ...POLICIES.map(({ name }) => createPolicy(name)),
  createPolicy("smallkv", { interval: 7 }),
  createPolicy("h2o", { interval: 5, base: "prompt" }),
];

for (const policy of VARIANTS) {
  for (const promptTokens of [60, 300]) {
    Deno.test(`poolSizes() fit every plan of ${policy.name}, interval ${policy.interval}, prompt ${promptTokens}`, () => {
      const request = { budget: { ratio: 0.2 }, promptTokens, capacity: 420, layers: 4 };
      const pools = poolSizes(policy, request);
      assertEquals(pools.length, 4);
      const pool = pools[1]!;
      const table = new SlotTable({
        label: "layer 1",
        pool,
        capacity: 420,
        isPermanent: policy.candidates === "kept",
      });
      let full = 0;
      let valueOnly = 0;
      for (const selection of selections(policy, request)) {
        const tokens = selection.full.at(-1)! + 1;
        table.check(selection, tierLimit(policy, request, { layer: 1, tokens }));
        table.apply(selection);
        full = Math.max(full, selection.full.length);
        valueOnly = Math.max(valueOnly, selection.valueOnly.length);
      }
      const slack = policy.interval; // plans may fall on other lengths
      assert(pool.full - full <= slack, `${pool.full} slots for ${full} tokens`);
      assert(pool.valueOnly - valueOnly < slack, `${pool.valueOnly} slots for ${valueOnly} values`);
    });
  }
}

Deno.test("poolSizes() follow the formula of docs/method.md, for any length up to 8,192", () => {
  const policy = createPolicy("smallkv");
  for (const capacity of [512, 2048, 8192]) {
    const request = { budget: { ratio: 0.2 }, promptTokens: capacity - 64, capacity, layers: 2 };
    for (const { full, valueOnly } of poolSizes(policy, request)) {
      const { recent, critical, marginal } = policy.counts({
        ...request,
        tokens: capacity,
        layer: 0,
      });
      assert(2 * full + valueOnly - (2 * (critical + recent) + marginal) <= 2);
      assert(2 * full + valueOnly <= 0.21 * 2 * capacity);
    }
  }
});

Deno.test("poolSizes() fit all tokens of a short prompt up to 100, and no more than plans need later", () => {
  const policy = createPolicy("smallkv");
  const sizes = (promptTokens: number, capacity: number) =>
    poolSizes(policy, { budget: { ratio: 0.2 }, promptTokens, capacity, layers: 1 })[0];
  assertEquals(sizes(7, 420), { full: 99, valueOnly: 45 }, "99 tokens are kept whole, method 10");
  assertEquals(sizes(7, 60), { full: 60, valueOnly: 0 });
  assertEquals(sizes(7, 2000), { full: 300, valueOnly: 203 }, "15 and 10 % of what fits, rounded");
  assertEquals(sizes(100, 420), { full: 63, valueOnly: 45 });
});

Deno.test("tierLimit() makes a plan that breaks the budget an error", () => {
  const policy = createPolicy("h2o");
  const request = { budget: { ratio: 0.2 }, promptTokens: 200, capacity: 420, layers: 4 };
  const pool = poolSizes(policy, request)[0]!;
  assertEquals(pool, { full: 84, valueOnly: 0 });
  const limit = tierLimit(policy, request, { layer: 0, tokens: 201 });
  assertEquals(limit, { full: 41, valueOnly: 0 });
  const table = new SlotTable({ label: "layer 0", pool, capacity: 420, isPermanent: true });
  const full = Uint32Array.from({ length: 42 }, (_, index) => index + 159);
  assertThrows(
    () => table.check({ ...NOTHING, full }, limit),
    RequirementError,
    "at most 41 tokens",
  );
  table.check({ ...NOTHING, full: full.subarray(1) }, limit);
});
