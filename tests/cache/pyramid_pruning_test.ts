/**
 * Tests of `cache/pyramid_pruning.ts` and of the two policies that follow it; what they do to a model is compared in
 * `tests/golden/pruned_prompts_test.ts`.
 *
 * @module
 */

import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { checkPruned } from "../../cache/plan_check.ts";
import type { CountRequest } from "../../cache/budget.ts";
import type { Policy } from "../../cache/policy.ts";
import { createPolicy, resolvePolicy } from "../../cache/policy_options.ts";
import { pyramidOfficial } from "../../cache/policies/pyramid_official.ts";
import {
  OFFICIAL_PRUNING,
  planBlocks,
  prunePrompt,
  pyramidPreset,
  SCALED_PRUNING,
} from "../../cache/pyramid_pruning.ts";
import { poolSizes } from "../../cache/tiered_pools.ts";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

Deno.test("the official settings follow their schedule", () => {
  const expected = [[32, 0.767, 0.38], [40, 0.724, 0.3], [80, 0.783, 0.4]] as const;
  for (const [layers, mean, last] of expected) {
    const budget = { ratio: 0.2 };
    const { kept } = OFFICIAL_PRUNING.sizes({ budget, promptTokens: 100_000, layers });
    assertAlmostEquals(sum(kept) / layers / 100_000, mean, 1e-3);
    assertAlmostEquals(kept.at(-1)! / 100_000, last, 5e-3);
  }
  assertEquals([28, 40, 80].map((layers) => pyramidPreset(layers).interval), [1, 2, 3]);
});

Deno.test("the official settings spare a short context", () => {
  const sizes = (promptTokens: number) =>
    OFFICIAL_PRUNING.sizes({ budget: { ratio: 0.2 }, promptTokens, layers: 28 });
  assertEquals(new Set(sizes(80).kept), new Set([80]), "63 tokens before the 17 newest");
  assertEquals(sizes(100), { kept: sizes(100).kept, recent: 21 });
  assert(sizes(100).kept.at(-1)! === 21 + 65, "the last step that leaves more than 64");
  for (const promptTokens of [1, 2, 5]) {
    assertEquals(sizes(promptTokens).kept[27], promptTokens);
  }
});

Deno.test("a cut at the first layer brings the mean to the budget, or the schedule decays less", () => {
  const requests = fc.record({
    promptTokens: fc.integer({ min: 100, max: 4000 }),
    percent: fc.integer({ min: 1, max: 100 }),
    layers: fc.integer({ min: 1, max: 80 }),
  });
  fc.assert(
    fc.property(requests, ({ promptTokens, percent, layers }) => {
      const request = { budget: { ratio: percent / 100 }, promptTokens, layers };
      const { kept, recent } = SCALED_PRUNING.sizes(request);
      assertEquals(kept.length, layers);
      assert(kept.every((size, layer) => size <= (kept[layer - 1] ?? promptTokens)));
      assert(kept.at(-1)! >= recent);
      const allowed = Math.max(2, Math.floor(promptTokens * percent / 100 + 1e-9));
      const mean = sum(kept) / layers;
      assert(mean <= allowed, `${mean} of ${allowed}`);
      // A recent window that is one longer costs a token in every layer, and a layer can only drop whole tokens.
      const slack = kept[0] === promptTokens ? 1 + layers / 2 : 2.5 + 0.01 * allowed;
      assert(mean > allowed - slack, `${mean} of ${allowed}`);
      if (percent === 100) assertEquals(kept.at(-1), promptTokens);
    }),
    { numRuns: 1000, seed: 6 },
  );
  const tokens = SCALED_PRUNING.sizes({ budget: { tokens: 200 }, promptTokens: 1000, layers: 28 });
  const ratio = SCALED_PRUNING.sizes({ budget: { ratio: 0.2 }, promptTokens: 1000, layers: 28 });
  assertEquals(tokens, ratio);
});

Deno.test("prunePrompt() keeps sinks, the newest tokens and those that weighted rows attend to", () => {
  const random = seededRandom(8);
  const promptTokens = 300;
  const rows = Array.from(
    { length: 61 },
    () => Float32Array.from({ length: promptTokens }, () => Math.floor(20 * random())),
  );
  const reached = Uint32Array.from({ length: 290 }, (_, k) => k < 100 ? k : k + 10);
  const sizes = { kept: [300, 290, 240], recent: 61 };
  const view = { budget: { ratio: 0.2 }, promptTokens, layer: 1, layers: 3, reached, rows };
  const { kept, next } = prunePrompt(view, sizes);
  assertEquals(kept, reached);
  const score = (position: number) =>
    sum(rows.map((row, index) => row[position]! * (1 + 0.2 * index / 60)));
  const context = [...reached.subarray(4, 229)]
    .sort((a, b) => score(b) - score(a) || a - b).slice(0, 240 - 61 - 4);
  const expected = [...reached.subarray(0, 4), ...context, ...reached.subarray(229)];
  assertEquals([...next], expected.sort((a, b) => a - b));
});

/** Tokens that a layer holds from step to step, computed from the policy alone. */
function walk(policy: Policy, request: Omit<CountRequest, "tokens">, steps: number) {
  const { promptTokens } = request;
  const random = seededRandom(2);
  const start = policy.counts({ ...request, tokens: promptTokens });
  let held = Uint32Array.from({ length: sum(Object.values(start)) }, (_, k) => k);
  const sizes: number[] = [];
  for (let tokens = promptTokens + 1; tokens <= promptTokens + steps; tokens++) {
    held = Uint32Array.of(...held, tokens - 1);
    const at = { ...request, tokens };
    const counts = policy.counts(at);
    if (policy.shouldPlan!(at)) {
      const saliency = Float32Array.from({ length: tokens }, random);
      held = Uint32Array.from(policy.plan!({ ...at, saliency, held }, counts).full);
    }
    assertEquals(held.length, sum(Object.values(counts)), `${tokens} tokens`);
    assert(counts.recent >= 1 && counts.critical >= 0);
    sizes.push(held.length);
  }
  return { held, sizes };
}

Deno.test("generated tokens are compressed in blocks of 16 that have left the recent window", () => {
  for (const name of ["pyramid_official", "pyramid_scaled"]) {
    const policy = createPolicy(name);
    for (const layer of [0, 13, 27]) {
      const request = { budget: { ratio: 0.2 }, promptTokens: 200, layer, layers: 28 };
      const { held, sizes } = walk(policy, request, 150);
      const recent = policy.score!.rows!({ ...request, tokens: 200 }) - 1;
      const first = sizes.findIndex((size, step) => step > 0 && size <= sizes[step - 1]!);
      assertEquals(first + 1, recent + 16, "16 tokens behind the window");
      const block = held.filter((token) => token >= 200 && token < 216).length;
      const share = 0.9 * (0.9 * (Math.cos(Math.PI * layer / 28) + 1) / 2 + 0.1);
      assertEquals(block, Math.max(1, Math.floor(16 * share)));
    }
  }
});

Deno.test("nothing is compressed with the whole cache or below the minimum of tokens", () => {
  const whole = { budget: { ratio: 1 }, promptTokens: 200, layer: 9, layers: 28 };
  assertEquals(walk(createPolicy("pyramid_scaled"), whole, 100).held.length, 300);
  const short = { budget: { ratio: 0.2 }, promptTokens: 20, layer: 9, layers: 28 };
  const { sizes } = walk(createPolicy("pyramid_official"), { ...short, minimumTokens: 100 }, 100);
  assertEquals(sizes[78], 99, "all of 99 tokens");
  assert(sizes[79]! < 99, "four blocks at once");
});

Deno.test("planBlocks() keeps the best of a block, and of equal ones the earlier", () => {
  const promptTokens = 10;
  const sizes = { kept: [5], recent: 3 };
  const held = Uint32Array.from([0, 3, 4, 8, 9, ...Array.from({ length: 18 }, (_, k) => 10 + k)]);
  const saliency = new Float32Array(28);
  saliency[25] = 2;
  const view = {
    budget: { ratio: 0.5 },
    tokens: 28,
    promptTokens,
    layer: 0,
    layers: 1,
    held,
    saliency,
  };
  const { full } = planBlocks(view, sizes);
  const best = [...Array.from({ length: 13 }, (_, k) => 10 + k), 25];
  assertEquals([...full], [0, 3, 4, 8, 9, ...best, 26, 27]);
});

Deno.test("checkPruned() requires parts of the given tokens with both ends", () => {
  const at = {
    policy: resolvePolicy(pyramidOfficial),
    layer: 3,
    reached: Uint32Array.of(0, 4, 7, 9),
  };
  const check = (kept: number[], next: number[]) =>
    checkPruned({ kept: Uint32Array.from(kept), next: Uint32Array.from(next) }, at);
  check([0, 4, 9], [0, 9]);
  const start = "Cannot prune a prompt under pyramid_official: layer 3 must ";
  const cases: [number[], number[], string][] = [
    [[0, 5, 9], [0, 9], "keep some of the tokens it has, in order: current list has 5 after 0"],
    [[0, 7, 4, 9], [0, 9], "keep some of the tokens it has, in order: current list has 4 after 7"],
    [
      [0, 4, 9],
      [0, 7, 9],
      "pass on some of the tokens it has, in order: current list has 7 after 0",
    ],
    [[0, 4], [0, 4], "keep the tokens 0 and 9: current list lacks one of them"],
    [[0, 4, 9], [4, 9], "pass on the tokens 0 and 9: current list lacks one of them"],
  ];
  for (const [kept, next, message] of cases) {
    assertThrows(() => check(kept, next), RequirementError, start + message);
  }
});

Deno.test("poolSizes() of pruned prompts fit every step", () => {
  for (const name of ["pyramid_official", "pyramid_scaled"]) {
    const policy = createPolicy(name);
    const request = { budget: { ratio: 0.2 }, promptTokens: 200, capacity: 340, layers: 6 };
    const pools = poolSizes(policy, request);
    for (let layer = 0; layer < 6; layer++) {
      const { sizes } = walk(policy, { ...request, layer }, 140);
      assert(Math.max(...sizes) <= pools[layer]!.full, `${name}, layer ${layer}`);
      assertEquals(pools[layer]!.valueOnly, 0);
    }
  }
});
