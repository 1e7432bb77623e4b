/**
 * What every policy promises, over the index of policies; and the planner of `cache/policy.ts`.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { CountRequest, TierCounts } from "../../cache/budget.ts";
import { POLICIES } from "../../cache/policies/mod.ts";
import { planBySaliency, type Policy, type RankingView } from "../../cache/policy.ts";
import { resolvePolicy } from "../../cache/policy_options.ts";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";

const requests = fc.record({
  tokens: fc.integer({ min: 4, max: 5000 }),
  percent: fc.integer({ min: 1, max: 100 }),
  promptShare: fc.double({ min: 0.1, max: 1, noNaN: true }),
  layers: fc.integer({ min: 2, max: 40 }),
  layerShare: fc.double({ min: 0, max: 0.999, noNaN: true }),
}).map(({ tokens, percent, promptShare, layers, layerShare }): CountRequest => ({
  budget: { ratio: percent / 100 },
  tokens,
  promptTokens: Math.max(1, Math.floor(tokens * promptShare)),
  layers,
  layer: Math.floor(layers * layerShare),
}));

function halfCost({ sink, recent, critical, marginal }: TierCounts): number {
  return 2 * (sink + recent + critical) + marginal;
}

/** Mean over layers, since a depth profile gives some of them more. */
function meanHalfCost(policy: Policy, request: CountRequest): number {
  const { layers } = request;
  const costs = Array.from(
    { length: layers },
    (_, layer) => halfCost(policy.counts({ ...request, layer })),
  );
  return costs.reduce((sum, cost) => sum + cost, 0) / layers;
}

for (const policy of POLICIES) {
  Deno.test(`${policy.name} keeps the newest token and no more tokens than there are`, () => {
    fc.assert(
      fc.property(requests, (request) => {
        const counts = policy.counts(request);
        const values = [counts.sink, counts.recent, counts.critical, counts.marginal];
        assert(values.every((value) => Number.isInteger(value) && value >= 0), String(values));
        assert(counts.recent >= 1);
        assert(values.reduce((sum, value) => sum + value, 0) <= request.tokens, String(values));
        if (policy.candidates === "kept") assertEquals(counts.marginal, 0);
      }),
      { numRuns: 300, seed: 1 },
    );
  });

  Deno.test({
    name: `${policy.name} stays within its budget, one token always allowed`,
    ignore: policy.isUnbounded === true,
    fn: () =>
      fc.assert(
        fc.property(requests, (request) => {
          const { budget, tokens } = request;
          const ratio = "ratio" in budget ? budget.ratio : NaN;
          const allowed = Math.max(2, 2 * ratio * tokens);
          const cost = meanHalfCost(policy, request);
          assert(cost <= allowed + 1e-6, `${cost} half-entries of ${allowed}`);
          const few = { ...request, budget: { tokens: 37 } };
          const most = 2 * Math.min(37, request.tokens);
          assert(meanHalfCost(policy, few) <= most + 1e-9, "a number of tokens");
        }),
        { numRuns: 200, seed: 2 },
      ),
  });

  Deno.test(`${policy.name} keeps everything at a budget of 1`, () => {
    const { counts } = resolvePolicy(policy);
    for (const tokens of [5, 101, 1000]) {
      for (const layer of [0, 3]) {
        const request = { budget: { ratio: 1 }, tokens, promptTokens: tokens, layer, layers: 4 };
        assertEquals(halfCost(counts(request)), 2 * tokens);
      }
    }
  });

  Deno.test(`${policy.name} never brings back what it dropped unless all tokens are candidates`, () => {
    const random = seededRandom(5);
    const before = new Set<number>();
    let hasReturned = false;
    for (let tokens = 100; tokens < 400; tokens++) {
      const request = { budget: { ratio: 0.15 }, tokens, promptTokens: 100, layer: 1, layers: 4 };
      const saliency = Float32Array.from({ length: tokens }, () => Math.floor(5 * random()));
      const isOpen = (token: number) => token === tokens - 1 || tokens === 100 || before.has(token);
      const { full, valueOnly } = planBySaliency(
        { tokens, saliency, ties: policy.ties, ...(policy.candidates === "kept" && { isOpen }) },
        policy.counts(request),
      );
      assertEquals(full.at(-1), tokens - 1, "the newest token");
      const returned = full.filter((token) => tokens > 100 && !isOpen(token));
      hasReturned ||= returned.length > 0;
      before.clear();
      for (const token of [...full, ...valueOnly]) before.add(token);
    }
    assertEquals(hasReturned, policy.candidates === "all" && policy.name !== "full");
  });
}

Deno.test("snapkv holds its prompt budget and adds every generated token", () => {
  const snapkv = POLICIES.find(({ name }) => name === "snapkv")!;
  const request = { budget: { ratio: 0.2 }, promptTokens: 1000, layer: 0, layers: 1 };
  assertEquals(halfCost(snapkv.counts({ ...request, tokens: 1000 })), 400);
  assertEquals(halfCost(snapkv.counts({ ...request, tokens: 1070 })), 540);
});

/** Follows the words of the specification, one token at a time. */
function slowPlan(view: RankingView, counts: TierCounts): Record<"full" | "valueOnly", number[]> {
  const all = Array.from({ length: view.tokens }, (_, token) => token);
  const isForced = (token: number) =>
    token < counts.sink || token >= Math.max(counts.sink, view.tokens - counts.recent);
  const left = new Set(all.filter((token) => !isForced(token) && (view.isOpen?.(token) ?? true)));
  const takeBest = () => {
    let best: number | undefined;
    for (const token of left) {
      const isTie = best !== undefined && view.saliency[token] === view.saliency[best];
      const isBetter = best === undefined || view.saliency[token]! > view.saliency[best]!;
      if (isBetter || isTie && view.ties === "later") best = token;
    }
    if (best !== undefined) left.delete(best);
    return best === undefined ? [] : [best];
  };
  const take = (count: number) => Array.from({ length: count }, takeBest).flat();
  const full = [...all.filter(isForced), ...take(counts.critical)].sort((a, b) => a - b);
  return { full, valueOnly: take(counts.marginal).sort((a, b) => a - b) };
}

Deno.test("planBySaliency() follows the specification on every tie", () => {
  const views = fc.record({
    tokens: fc.integer({ min: 1, max: 40 }),
    levels: fc.integer({ min: 1, max: 6 }),
    seed: fc.nat(),
    counts: fc.record({
      sink: fc.nat(5),
      recent: fc.integer({ min: 1, max: 10 }),
      critical: fc.nat(20),
      marginal: fc.nat(20),
    }),
    ties: fc.constantFrom("earlier", "later"),
    isNarrow: fc.boolean(),
  });
  fc.assert(
    fc.property(views, ({ tokens, levels, seed, counts, ties, isNarrow }) => {
      const random = seededRandom(seed);
      const saliency = Float32Array.from({ length: tokens }, () => Math.floor(levels * random()));
      const isOpen = (token: number) => (token * 7 + seed) % 3 !== 0;
      const view = { tokens, saliency, ties, ...(isNarrow && { isOpen }) } as const;
      const { full, valueOnly } = planBySaliency(view, counts);
      assertEquals({ full: [...full], valueOnly: [...valueOnly] }, slowPlan(view, counts));
    }),
    { numRuns: 500, seed: 3 },
  );
});

Deno.test("planBySaliency() ranks thousands of scores of any size as a sort does", () => {
  const random = seededRandom(9);
  for (const tokens of [1000, 2049, 5000]) {
    const saliency = Float32Array.from({ length: tokens }, () => {
      const size = Math.fround(10 ** (80 * random() - 40));
      return random() < 0.1 ? -size : random() < 0.1 ? -0 : size;
    });
    const counts = { sink: 2, recent: 50, critical: 0.1 * tokens | 0, marginal: 0.7 * tokens | 0 };
    const { full, valueOnly } = planBySaliency({ tokens, saliency }, counts);
    const ranked = Array.from({ length: tokens - 52 }, (_, index) => index + 2)
      .sort((a, b) => saliency[b]! > saliency[a]! ? 1 : saliency[b]! < saliency[a]! ? -1 : a - b);
    const ascending = (list: number[]) => list.sort((a, b) => a - b);
    assertEquals([...full].slice(2, -50), ascending(ranked.slice(0, counts.critical)));
    const end = counts.critical + counts.marginal;
    assertEquals([...valueOnly], ascending(ranked.slice(counts.critical, end)));
  }
});

Deno.test("planBySaliency() refuses NaN", () => {
  const counts = { sink: 0, recent: 1, critical: 1, marginal: 1 };
  assertThrows(
    () => planBySaliency({ tokens: 4, saliency: Float32Array.of(1, NaN, 2, 3) }, counts),
    RequirementError,
    "saliency must be a number: current value is NaN",
  );
});

Deno.test("planBySaliency() breaks ties toward the earlier token unless told otherwise", () => {
  const saliency = Float32Array.of(1, 2, 2, 2, 1, 0);
  const counts = { sink: 0, recent: 1, critical: 2, marginal: 1 };
  const early = planBySaliency({ tokens: 6, saliency }, counts);
  assertEquals([[...early.full], [...early.valueOnly]], [[1, 2, 5], [3]]);
  const late = planBySaliency({ tokens: 6, saliency, ties: "later" }, counts);
  assertEquals([[...late.full], [...late.valueOnly]], [[2, 3, 5], [1]]);
});

Deno.test("planBySaliency() ranks nothing when sinks and recent tokens cover all", () => {
  const counts = { sink: 4, recent: 9, critical: 3, marginal: 2 };
  const { full, valueOnly } = planBySaliency({ tokens: 6, saliency: new Float32Array() }, counts);
  assertEquals([[...full], [...valueOnly]], [[0, 1, 2, 3, 4, 5], []]);
});
