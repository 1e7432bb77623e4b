/**
 * Inputs for the tests of `plan_by_saliency`.
 *
 * @module
 */

import fc from "fast-check";
import { seededRandom } from "../../core/random.ts";
import type { KernelRun } from "../../gpu/kernel.ts";
import type { PLAN_BY_SALIENCY_CONTRACT } from "../../kernels/plan_by_saliency.ts";
import { LIST_HEADER_WORDS } from "../../kernels/selection_list.ts";

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

/** One run of the kernel. */
export type PlanRun = KernelRun<typeof PLAN_BY_SALIENCY_CONTRACT>;

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
    constants: {
      WORKGROUP_SIZE: 64,
      BROKEN_LIST: 2 ** 32 - 1,
      CALIBRATION_SINKS: 4,
      HEADER_WORDS: 4,
    },
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
