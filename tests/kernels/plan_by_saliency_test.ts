/**
 * Tests of `kernels/plan_by_saliency.*`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { RequirementError } from "../../core/check.ts";
import type { Device } from "../../gpu/device.ts";
import { planBySaliencyCommand, planBySaliencyKernel } from "../../kernels/plan_by_saliency.ts";
import { BROKEN_LIST, readList } from "../../kernels/selection_list.ts";
import { kernelTest } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";
import { anyPlan, type PlanCase, type PlanRun, planRun } from "./plan_cases.ts";

const BASE: PlanCase = {
  tokens: [100],
  groupsPerLayer: 2,
  kvHeads: 2,
  groupHeads: 7,
  counts: [0, 10, 20, 20],
  levels: 0,
};

const CASES: PlanCase[] = [
  { ...BASE, tokens: [1], counts: [0, 1, 0, 0] },
  { ...BASE, tokens: [63, 64, 65], counts: [4, 20, 40, 30] },
  { ...BASE, tokens: [1001], counts: [0, 60, 300, 300] },
  { ...BASE, tokens: [1001], counts: [4, 60, 300, 300], levels: 3 },
  { ...BASE, tokens: [1001], counts: [4, 60, 300, 300], levels: 3, isLaterFirst: true },
  { ...BASE, tokens: [300], counts: [0, 50, 90, 0], levels: 2, openShare: 0.5, isLaterFirst: true },
  { ...BASE, tokens: [40], counts: [60, 60, 60, 60] },
  { ...BASE, tokens: [63, 64, 65], counts: [4, 20, 40, 30], layer: 1 },
  { ...BASE, tokens: [64, 9], counts: [4, 20, 40, 0], layer: 0, levels: 2 },
  { ...BASE, tokens: [300, 9], counts: [4, 90, 40, 20], slots: [64, 302] },
  { ...BASE, tokens: [300, 200], counts: [4, 90, 40, 20], slots: [302, 128], layer: 1 },
  { ...BASE, tokens: [130], groupsPerLayer: 14, groupHeads: 1, levels: 5 },
  { ...BASE, tokens: [130], groupsPerLayer: 1, groupHeads: 14, levels: 5 },
  {
    ...BASE,
    tokens: [8192],
    kvHeads: 1,
    groupsPerLayer: 1,
    counts: [4, 400, 1600, 1600],
    levels: 900,
  },
  { ...BASE, tokens: [8192], kvHeads: 1, groupsPerLayer: 1, counts: [4, 8192, 8192, 8192] },
];

/** What lists hold; what lies beyond their entries is left out. */
function contents(run: PlanRun, lists: Uint32Array): unknown[] {
  const { list_words, group_heads } = run.params;
  return Array.from({ length: lists.length / list_words }, (_, index) => {
    const list = lists.subarray(index * list_words, (index + 1) * list_words);
    return { header: list.slice(0, 4 + group_heads), ...readList(list, group_heads) };
  });
}

async function check(run: PlanRun, device: Device): Promise<void> {
  const { lists } = await runKernel(planBySaliencyKernel, run, { device });
  const expected = await runReference(planBySaliencyKernel, run);
  assertEquals(contents(run, lists), contents(run, expected.lists));
}

for (const sizes of CASES) {
  kernelTest({
    name: `planBySaliencyKernel matches its twin for ${JSON.stringify(sizes)}`,
    fn: (device) => check(planRun(sizes), device),
  });
}

kernelTest({
  name: "planBySaliencyKernel matches its twin for random plans with ties",
  fn: (device) =>
    fc.assert(
      fc.asyncProperty(anyPlan(), fc.nat(1000), async (sizes, seed) => {
        await check(planRun(sizes, seed), device);
      }),
      { numRuns: 150, seed: 23 },
    ),
});

kernelTest({
  name: "planBySaliencyKernel orders denormal, infinite and negative scores and both zeros",
  async fn(device) {
    const values = [0, -0, 1e-45, 2e-45, 1e-39, Infinity, 3e38, -1, -1e-45, 1, -Infinity, 1e-38];
    const run = planRun({ ...BASE, tokens: [200], counts: [0, 3, 120, 120] });
    const scores = Float32Array.from(run.buffers.saliency, (bits) => values[bits % values.length]!);
    for (const ties_later of [0, 1]) {
      await check({
        ...run,
        buffers: { ...run.buffers, saliency: new Uint32Array(scores.buffer) },
        params: { ...run.params, ties_later },
      }, device);
    }
  },
});

kernelTest({
  name: "planBySaliencyKernel marks lists of scores that are not numbers, and lists without room",
  async fn(device) {
    const run = planRun(BASE);
    const { capacity, list_words } = run.params;
    new Float32Array(run.buffers.saliency.buffer)[capacity + 99] = NaN;
    new Float32Array(run.buffers.saliency.buffer)[2 * capacity + 100] = NaN; // past the last token
    await check(run, device);
    const { lists } = await runKernel(planBySaliencyKernel, run, { device });
    assertEquals(
      [0, 1, 2, 3].map((headGroup) => lists[headGroup * list_words] === BROKEN_LIST),
      [false, true, false, false],
    );
    await check(planRun({ ...BASE, counts: [0, 60, 60, 60], missingWords: 160 }), device);
  },
});

Deno.test("planBySaliencyCommand() refuses lists without room", () => {
  const buffers = {} as Parameters<typeof planBySaliencyCommand>[0];
  const shape = { ...BASE, sequences: 1, groups: 48, capacity: 100, listWords: 12 };
  assertThrows(
    () => planBySaliencyCommand(buffers, shape),
    RequirementError,
    "listWords must be an integer at least 13: current value is 12",
  );
});
