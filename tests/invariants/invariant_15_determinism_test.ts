/**
 * Invariant 15 of docs/method.md: ties are resolved the same everywhere, and repeated runs are identical. D-6 with
 * many ties is in `tests/analysis/head_match_test.ts`.
 */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { planBySaliencyKernel } from "../../kernels/plan_by_saliency.ts";
import { readList } from "../../kernels/selection_list.ts";
import { planBySaliency } from "../../cache/policy.ts";
import { salientTokens } from "../../analysis/similarity.ts";
import { anyPlan, type PlanRun, planRun } from "../kernels/plan_cases.ts";
import { testBackends, testDevice } from "../support/gpu.ts";
import { runKernel } from "../support/run_kernel.ts";
import { decodeUnder, listed, VARIANTS } from "./decode.ts";
import { randomCases, randomPair, randomText } from "./random_pair.ts";

/** Sorts by descending score, then by position (D-7), and takes tiers from the top. */
function sortedPlan(run: PlanRun, { sequence, group }: { sequence: number; group: number }) {
  const { groups, capacity, only_kept, ties_later } = run.params;
  const index = sequence * groups + group;
  const tokens = run.buffers.state[1 + sequence]! + 1;
  const saliency = new Float32Array(run.buffers.saliency.buffer)
    .subarray(index * capacity, index * capacity + tokens);
  const residency = run.buffers.residency.subarray(index * capacity);
  const [sink, recent, critical, marginal] = run.buffers.budgets.subarray(4 * index, 4 * index + 4);
  const isForced = (token: number) => token < sink! || token >= tokens - recent!;
  const all = Array.from({ length: tokens }, (_, token) => token);
  const order = all.filter((token) =>
    !isForced(token) && (only_kept === 0 || residency[token] !== 0)
  );
  order.sort((a, b) => saliency[b]! - saliency[a]! || (ties_later ? b - a : a - b));
  const ascending = (list: number[]) => list.sort((a, b) => a - b);
  return {
    full: ascending([...all.filter(isForced), ...order.slice(0, critical!)]),
    valueOnly: ascending(order.slice(critical!, critical! + marginal!)),
  };
}

Deno.test("15: salientTokens() and planBySaliency() give ties to the earlier token (D-7)", () => {
  const scores = fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(scores, fc.nat(), (values, draw) => {
      const count = draw % (values.length + 1);
      const order = values.map((_, token) => token)
        .sort((a, b) => values[b]! - values[a]! || a - b)
        .slice(0, count).sort((a, b) => a - b);
      assertEquals([...salientTokens(values, count)], order);
      const view = { tokens: values.length, saliency: Float32Array.from(values) };
      const counts = { sink: 0, recent: 0, critical: count, marginal: 0 };
      assertEquals([...planBySaliency(view, counts).full], order);
    }),
    { numRuns: 300, seed: 15 },
  );
});

for (const backend of testBackends) {
  Deno.test(`15: plans full of ties are those of a sort, on ${backend}`, async () => {
    const device = await testDevice(backend);
    await fc.assert(
      fc.asyncProperty(anyPlan(), fc.nat(1000), async (sizes, seed) => {
        const run = planRun({ ...sizes, firstSequence: 0 }, seed);
        const { lists } = await runKernel(planBySaliencyKernel, run, { device });
        const { groups, group_heads, list_words } = run.params;
        for (let sequence = 0; sequence < sizes.tokens.length; sequence++) {
          for (let group = 0; group < groups; group++) {
            const start = (sequence * groups + group) * list_words;
            const entries = readList(lists.subarray(start, start + list_words), group_heads)!;
            assertEquals(listed(entries), sortedPlan(run, { sequence, group }));
          }
        }
      }),
      { numRuns: 60, seed: 15 },
    );
  });

  Deno.test(`15: a repeated run gives the same bits and the same selections, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(randomCases(), fc.constantFrom(...VARIANTS), async (one, variant) => {
        using pair = await randomPair(backend, one);
        const prompt = randomText(one.seed, 113);
        const request = { ...variant, prompt, steps: 3, budget: 0.2 };
        assertEquals(await decodeUnder(pair, request), await decodeUnder(pair, request));
      }),
      { numRuns: 5, seed: 15 },
    );
  });
}
