/**
 * The planner that policies use and its kernel choose the same tokens, and the two layers list the same modes.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { planBySaliency } from "../../cache/policy.ts";
import { COMBINES } from "../../cache/policy_options.ts";
import { MARGINAL_MODES } from "../../kernels/marginal.ts";
import { planBySaliencyKernel } from "../../kernels/plan_by_saliency.ts";
import { readList } from "../../kernels/selection_list.ts";
import { testBackends, testDevice } from "../support/gpu.ts";
import { runKernel } from "../support/run_kernel.ts";
import { anyPlan, type PlanRun, planRun } from "../kernels/plan_cases.ts";

function expectedSelection({ buffers, params }: PlanRun, sequence: number, group: number) {
  const { capacity } = params;
  const tokens = buffers.state[1 + sequence]! + params.tokens_offset;
  const place = group * capacity;
  const [sink, recent, critical, marginal] = buffers.budgets.subarray(4 * group, 4 * group + 4);
  return planBySaliency({
    tokens,
    saliency: new Float32Array(buffers.saliency.buffer as ArrayBuffer, 4 * place, tokens),
    ties: params.ties_later === 1 ? "later" : "earlier",
    ...(params.only_kept === 1 && {
      isOpen: (token: number) => buffers.residency[place + token] === 1,
    }),
  }, { sink: sink!, recent: recent!, critical: critical!, marginal: marginal! });
}

for (const backend of testBackends) {
  Deno.test(`planBySaliency() and its kernel on ${backend} choose the same tokens`, () =>
    fc.assert(
      fc.asyncProperty(anyPlan(), fc.nat(1000), async (sizes, seed) => {
        const run = planRun(sizes, seed);
        const { groups, list_words, group_heads } = run.params;
        const device = await testDevice(backend);
        const { lists } = await runKernel(planBySaliencyKernel, run, { device });
        for (let index = 0; index < run.grid[1] * groups; index++) {
          const sequence = run.buffers.state[0]! + Math.floor(index / groups);
          const group = sequence * groups + index % groups;
          const list = lists.subarray(group * list_words, (group + 1) * list_words);
          const { full, valueOnly } = readList(list, group_heads)!;
          assertEquals({ full, valueOnly }, expectedSelection(run, sequence, group));
        }
      }),
      { numRuns: 60, seed: 29 },
    ));
}

Deno.test("COMBINES and MARGINAL_MODES name the same ways in the same order", () => {
  assertEquals([...COMBINES], [...MARGINAL_MODES]);
});
