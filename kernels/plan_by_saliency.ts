/**
 * The tokens of each selection, ranked by saliency: contract and twin.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, section 4.1; decisions D-7 and D-11
 * @module
 */

import { checkInteger } from "../core/check.ts";
import {
  type BufferWindow,
  type Command,
  type DeviceBuffer,
  dispatch,
  type DispatchBuffers,
} from "../gpu/device.ts";
import { defineKernel, type Kernel } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./plan_by_saliency.wgsl" with { type: "text" };
import { PLAN_BINDINGS, PLAN_PARAMS, planAll } from "./plan_reference.ts";
import { BROKEN_LIST, CALIBRATION_SINKS, LIST_HEADER_WORDS } from "./selection_list.ts";
import { type AdapterFeatures, kernelShapes } from "./shapes.ts";
import { widePlan } from "./wide_plan.ts";

const WORKGROUP_SIZE = 64;

/** Bytes of a thread of the CPU device before two arrays of orders. */
const PLAN_BYTES = 64 + 4 * 256;

/** Contract of `plan_by_saliency.wgsl`. */
export const PLAN_BY_SALIENCY_CONTRACT = {
  name: "plan_by_saliency",
  wgsl,
  bindings: PLAN_BINDINGS,
  constants: { WORKGROUP_SIZE, BROKEN_LIST, CALIBRATION_SINKS, HEADER_WORDS: LIST_HEADER_WORDS },
  params: PLAN_PARAMS,
  workgroupBytes: 2 * 256 * 4 + 16 * WORKGROUP_SIZE + 2 * 8 + 2 * 4,
} as const;

/** Contract and twin of `plan_by_saliency.wgsl`; the grid is selections by sequences. */
export const planBySaliencyKernel: Kernel<typeof PLAN_BY_SALIENCY_CONTRACT> = defineKernel(
  PLAN_BY_SALIENCY_CONTRACT,
  planAll,
  {
    module: CPU_MODULE,
    passes: ({ params: { capacity }, grid: [planned, sequences] }) => [{
      entry: "plan_by_saliency",
      items: sequences * planned,
      work: 4 * capacity,
      values: { planned },
    }],
    threadBytes: ({ params: { capacity } }) => PLAN_BYTES + 8 * capacity,
  },
);

/** Buffers of `plan_by_saliency`; see the header of its WGSL. */
export interface PlanBySaliencyBuffers
  extends
    Omit<DispatchBuffers<typeof PLAN_BY_SALIENCY_CONTRACT>, "matched" | "residency" | "slots"> {
  /** Small head of each query head, u32 [sequences, groups * groupHeads]; those of a head group are adjacent. */
  readonly match: DeviceBuffer | BufferWindow;
  /** 1 where a token may be chosen, u32 [sequences, groups, capacity]; all may if left out. */
  readonly residency?: DeviceBuffer | BufferWindow;
  /**
   * Head vectors of a KV head in each layer's keys and values, where a token is at its position modulo this, u32 [layers];
   * as many as the capacity if left out.
   */
  readonly slots?: DeviceBuffer | BufferWindow;
}

/** Sizes of `plan_by_saliency`. */
export interface PlanBySaliencyShape {
  /** Sequences in the step. */
  readonly sequences: number;
  /** Selections of all layers. */
  readonly groups: number;
  /** Query heads that share a selection. */
  readonly groupHeads: number;
  /** Selections of a layer. */
  readonly groupsPerLayer: number;
  /** KV heads of a layer. */
  readonly kvHeads: number;
  /** Tokens that fit per sequence. */
  readonly capacity: number;
  /** Words of a list. */
  readonly listWords: number;
  /** New tokens of the step, which may be listed; 1 if left out. */
  readonly newTokens?: number;
  /** Whether the later of two equally salient tokens is taken; the earlier one if left out (D-7). */
  readonly isLaterFirst?: boolean;
  /** The only layer that is planned; all are if left out. */
  readonly layer?: number;
}

/**
 * Prepares the plan of a step.
 *
 * A list has a kept count of `BROKEN_LIST` where a score is not a number or the tokens do not fit.
 *
 * @param info The device, for the choice of the kernel.
 * @param buffers What it reads and writes.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If a size is not positive or lists have no room.
 */
export function planBySaliencyCommand(
  info: AdapterFeatures,
  buffers: PlanBySaliencyBuffers,
  shape: PlanBySaliencyShape,
): Command {
  const action = "plan by saliency";
  const { groups, groupHeads, groupsPerLayer, kvHeads, capacity, listWords } = shape;
  for (
    const name of [
      "sequences",
      "groups",
      "groupHeads",
      "groupsPerLayer",
      "kvHeads",
      "capacity",
    ] as const
  ) checkInteger(action, name, { value: shape[name], min: 1 });
  checkInteger(action, "listWords", { value: listWords, min: LIST_HEADER_WORDS + groupHeads + 2 });
  const { state, saliency, budgets, match, residency = state, slots = state, lists } = buffers;
  const sizes = {
    buffers: { state, saliency, budgets, matched: match, residency, slots, lists },
    params: {
      groups,
      group_heads: groupHeads,
      groups_per_layer: groupsPerLayer,
      kv_heads: kvHeads,
      capacity,
      list_words: listWords,
      tokens_offset: shape.newTokens ?? 1,
      only_kept: buffers.residency ? 1 : 0,
      ties_later: shape.isLaterFirst ? 1 : 0,
      group_offset: groupsPerLayer * (shape.layer ?? 0),
      has_slots: buffers.slots ? 1 : 0,
    },
    grid: [shape.layer === undefined ? groups : groupsPerLayer, shape.sequences, 1],
  } as const;
  return kernelShapes(info).plan === "tiles"
    ? dispatch({ ...sizes, kernel: widePlan })
    : dispatch({ ...sizes, kernel: planBySaliencyKernel });
}
