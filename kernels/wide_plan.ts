/**
 * The tokens of each selection, ranked by saliency, on GPUs: contract; the twin is that of `plan_by_saliency`.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, section 4.1; decisions D-7 and D-11
 * @module
 */

import { defineKernel, type Kernel } from "../gpu/kernel.ts";
import { PLAN_BINDINGS, PLAN_PARAMS, planAll } from "./plan_reference.ts";
import { BROKEN_LIST, CALIBRATION_SINKS, LIST_HEADER_WORDS } from "./selection_list.ts";
import wgsl from "./wide_plan.wgsl" with { type: "text" };

/** As many as there are bins, so that each lane has one. */
const WORKGROUP_SIZE = 256;

/** Saliency is a softmax, whose leading bits take few values: lanes would queue for the same counts. */
const COPIES = 4;

/** Contract of `wide_plan.wgsl`. */
export const WIDE_PLAN_CONTRACT = {
  name: "wide_plan",
  wgsl,
  bindings: PLAN_BINDINGS,
  constants: {
    WORKGROUP_SIZE,
    COPIES,
    BROKEN_LIST,
    CALIBRATION_SINKS,
    HEADER_WORDS: LIST_HEADER_WORDS,
  },
  params: PLAN_PARAMS,
  workgroupBytes: 2 * 256 * 4 * COPIES + 16 * WORKGROUP_SIZE + 2 * 16 + 2 * 4,
} as const;

/** Contract and twin of `wide_plan.wgsl`; the grid is selections by sequences. */
export const widePlan: Kernel<typeof WIDE_PLAN_CONTRACT> = defineKernel(
  WIDE_PLAN_CONTRACT,
  planAll,
);
