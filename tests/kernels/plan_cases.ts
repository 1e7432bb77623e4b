/**
 * Cases of the kernels that rank the tokens of each selection: `plan_by_saliency` and `wide_plan`.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { seededRandom } from "../../core/random.ts";
import type { Device } from "../../gpu/device.ts";
import type { Kernel } from "../../gpu/kernel.ts";
import type { PLAN_BY_SALIENCY_CONTRACT } from "../../kernels/plan_by_saliency.ts";
import { BROKEN_LIST, LIST_HEADER_WORDS, readList } from "../../kernels/selection_list.ts";
import type { WIDE_PLAN_CONTRACT } from "../../kernels/wide_plan.ts";
import { kernelTest } from "../support/gpu.ts";
import { type ArrayRun, runKernel, runReference } from "../support/run_kernel.ts";

/** A plan of random saliency. */
export interface PlanCase {
  /** Tokens of each sequence, including the newest. */
  readonly tokens: readonly number[];
  /** Sequences before the first of the step; 0 if left out. */
  readonly firstSequence?: number;
  /** Selections of a layer; there are two layers. */
  readonly groupsPerLayer: number;
  /** KV heads of a layer. */
  readonly kvHeads: number;
  /** Query heads of a selection. */
  readonly groupHeads: number;
  /** Most tokens of each tier: sink, recent, critical, marginal. */
  readonly counts: readonly [number, number, number, number];
  /** Different values that saliency takes; few of them make ties. 0 for any value. */
  readonly levels: number;
  /** Share of the tokens that may be chosen; all if left out. */
  readonly openShare?: number;
  /** Whether the later of two equal tokens is taken. */
  readonly isLaterFirst?: boolean;
  /** The only layer that is planned; both if left out. */
  readonly layer?: number;
  /** Slots of a KV head in each of the layers; the capacity if left out. */
  readonly slots?: readonly [number, number];
  /** Words that each list lacks to hold every token; 0 if left out. */
  readonly missingWords?: number;
}

/** Contract of a kernel that plans. */
export type PlanContract = typeof PLAN_BY_SALIENCY_CONTRACT | typeof WIDE_PLAN_CONTRACT;

/** One run of such a kernel. */
export type PlanRun = ArrayRun<PlanContract>;

/**
 * Makes a run.
 *
 * @param sizes The case.
 * @param seed Seed.
 * @returns Arrays, parameters, grid.
 */
export function planRun(sizes: PlanCase, seed = 1): PlanRun {
  const { tokens, groupsPerLayer, kvHeads, groupHeads, counts, levels, firstSequence = 0 } = sizes;
  const random = seededRandom(seed);
  const capacity = Math.max(...tokens) + 2;
  const groups = 2 * groupsPerLayer;
  const sequences = firstSequence + tokens.length;
  const length = sequences * groups;
  const listWords = LIST_HEADER_WORDS + groupHeads + 2 * capacity - (sizes.missingWords ?? 0);
  const value = levels > 0 ? () => Math.floor(levels * random()) / 8 : () => 100 * random() ** 8;
  const saliency = Float32Array.from({ length: length * capacity }, value);
  const starts = tokens.map((count) => count - 1);
  return {
    buffers: {
      state: Uint32Array.of(firstSequence, ...new Array(firstSequence).fill(0), ...starts),
      saliency: new Uint32Array(saliency.buffer),
      budgets: Uint32Array.from(
        { length: 4 * length },
        (_, i) => Math.floor((counts[i % 4]! + 1) * random()),
      ),
      matched: Uint32Array.from({ length: length * groupHeads }, () => 300 * random()),
      residency: Uint32Array.from(
        { length: length * capacity },
        () => random() < (sizes.openShare ?? 1) ? 1 : 0,
      ),
      slots: Uint32Array.from(sizes.slots ?? [1, 1]),
      lists: new Uint32Array(length * listWords),
    },
    constants: {},
    params: {
      groups,
      group_heads: groupHeads,
      groups_per_layer: groupsPerLayer,
      kv_heads: kvHeads,
      capacity,
      list_words: listWords,
      tokens_offset: 1,
      only_kept: sizes.openShare === undefined ? 0 : 1,
      ties_later: sizes.isLaterFirst ? 1 : 0,
      group_offset: groupsPerLayer * (sizes.layer ?? 0),
      has_slots: sizes.slots ? 1 : 0,
    },
    grid: [sizes.layer === undefined ? groups : groupsPerLayer, tokens.length, 1],
  };
}

/** Plans of any kind, most of them with ties. */
export function anyPlan(): fc.Arbitrary<PlanCase> {
  const count = fc.oneof(fc.nat(3), fc.nat(40));
  return fc.record({
    tokens: fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 2 }),
    firstSequence: fc.nat(1),
    kvHeads: fc.integer({ min: 1, max: 3 }),
    groups: fc.constantFrom("layer", "kv", "query"),
    group: fc.integer({ min: 1, max: 4 }),
    counts: fc.tuple(count, count, count, count),
    levels: fc.constantFrom(1, 2, 3, 7, 0),
    openShare: fc.option(fc.constantFrom(0, 0.3, 0.8), { nil: undefined }),
    isLaterFirst: fc.boolean(),
    slots: fc.option(fc.constantFrom([64, 202] as const, [128, 64] as const), { nil: undefined }),
  }).map(({ groups, group, kvHeads, openShare, slots, ...sizes }) => ({
    ...sizes,
    kvHeads,
    groupsPerLayer: groups === "layer" ? 1 : groups === "kv" ? kvHeads : kvHeads * group,
    groupHeads: groups === "layer" ? kvHeads * group : groups === "kv" ? group : 1,
    ...(openShare !== undefined && { openShare }),
    ...(slots !== undefined && { slots }),
  }));
}

/** Two layers of two selections, and a hundred tokens. */
export const BASE: PlanCase = {
  tokens: [100],
  groupsPerLayer: 2,
  kvHeads: 2,
  groupHeads: 7,
  counts: [0, 10, 20, 20],
  levels: 0,
};

const CASES: readonly PlanCase[] = [
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

/**
 * Compares a kernel that plans with its twin.
 *
 * @param kernel The kernel.
 * @param constants Its constants, where they are not the defaults.
 */
export function planTests<C extends PlanContract>(
  kernel: Kernel<C>,
  constants: { readonly [Name in keyof C["constants"]]?: number },
): void {
  const label = [kernel.name, ...Object.values(constants)].join(" ");

  const withConstants = (run: PlanRun) => ({ ...run, constants }) as unknown as ArrayRun<C>;

  async function check(run: PlanRun, device: Device): Promise<void> {
    const { lists } = await runKernel(kernel, withConstants(run), { device });
    const expected = await runReference(kernel, withConstants(run));
    assertEquals(contents(run, lists), contents(run, expected.lists));
  }

  for (const sizes of CASES) {
    kernelTest({
      name: `${label} matches its twin for ${JSON.stringify(sizes)}`,
      fn: (device) => check(planRun(sizes), device),
    });
  }

  kernelTest({
    name: `${label} matches its twin for random plans with ties`,
    fn: (device) =>
      fc.assert(
        fc.asyncProperty(anyPlan(), fc.nat(1000), async (sizes, seed) => {
          await check(planRun(sizes, seed), device);
        }),
        { numRuns: 150, seed: 23 },
      ),
  });

  kernelTest({
    name: `${label} orders denormal, infinite and negative scores and both zeros`,
    async fn(device) {
      const values = [0, -0, 1e-45, 2e-45, 1e-39, Infinity, 3e38, -1, -1e-45, 1, -Infinity, 1e-38];
      const run = planRun({ ...BASE, tokens: [200], counts: [0, 3, 120, 120] });
      const scores = Float32Array.from(
        run.buffers.saliency,
        (bits) => values[bits % values.length]!,
      );
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
    name: `${label} marks lists of scores that are not numbers, and lists without room`,
    async fn(device) {
      const run = planRun(BASE);
      const { capacity, list_words } = run.params;
      new Float32Array(run.buffers.saliency.buffer)[capacity + 99] = NaN;
      new Float32Array(run.buffers.saliency.buffer)[2 * capacity + 100] = NaN; // past the last token
      await check(run, device);
      const { lists } = await runKernel(kernel, withConstants(run), { device });
      assertEquals(
        [0, 1, 2, 3].map((headGroup) => lists[headGroup * list_words] === BROKEN_LIST),
        [false, true, false, false],
      );
      await check(planRun({ ...BASE, counts: [0, 60, 60, 60], missingWords: 160 }), device);
    },
  });
}
