/**
 * Scores of each selection's tokens, combined from those of its matched small heads: contract and twin.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, section 4.1
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
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./matched_saliency.wgsl" with { type: "text" };

const BLOCK = 1024;

/** Contract of `matched_saliency.wgsl`. */
export const MATCHED_SALIENCY_CONTRACT = {
  name: "matched_saliency",
  wgsl,
  bindings: {
    state: "read u32",
    scores: "read f32",
    matched: "read u32",
    joined: "read u32",
    saliency: "write f32",
  },
  constants: { WORKGROUP_SIZE: 64, BLOCK },
  params: { groups: "u32", group_heads: "u32", heads: "u32", capacity: "u32", reduction: "u32" },
} as const;

/** Contract and twin of `matched_saliency.wgsl`. */
export const matchedSaliency: Kernel<typeof MATCHED_SALIENCY_CONTRACT> = defineKernel(
  MATCHED_SALIENCY_CONTRACT,
  joinMatched,
  {
    module: CPU_MODULE,
    passes: ({ params: { groups, group_heads, capacity }, grid }) => [
      { entry: "matched_saliency", items: grid[2] * groups, work: capacity / 8 * group_heads },
    ],
  },
);

function joinMatched({ buffers, params, grid }: KernelRun<typeof MATCHED_SALIENCY_CONTRACT>): void {
  const { state, scores, saliency } = buffers;
  const { groups, group_heads, heads, capacity, reduction } = params;
  for (let sequence = state[0]!; sequence < state[0]! + grid[2]; sequence++) {
    const tokens = Math.min(4 * Math.ceil((state[1 + sequence]! + 1) / 4), capacity);
    const members = buffers.joined[sequence]!;
    for (let headGroup = sequence * groups; headGroup < (sequence + 1) * groups; headGroup++) {
      const first = Math.floor(headGroup * group_heads / members) * members;
      const matched = buffers.matched.subarray(first, first + members);
      for (let token = 0; token < tokens; token++) {
        const values = [...matched].map((head) =>
          scores[(sequence * heads + head) * capacity + token]!
        );
        const sum = values.reduce((left, right) => left + right, 0);
        const joined = reduction === 2 ? Math.max(...values) : sum;
        saliency[headGroup * capacity + token] = reduction === 0 ? joined / members : joined;
      }
    }
  }
}

/** Buffers of `matched_saliency`; see the header of its WGSL. */
export interface MatchedSaliencyBuffers
  extends Omit<DispatchBuffers<typeof MATCHED_SALIENCY_CONTRACT>, "matched"> {
  /** Small head of each query head, u32 [sequences, groups * groupHeads]; those of a head group are adjacent. */
  readonly match: DeviceBuffer | BufferWindow;
}

/** Sizes of `matched_saliency`. */
export interface MatchedSaliencyShape {
  /** Sequences in the step. */
  readonly sequences: number;
  /** Query heads of all layers of the small model. */
  readonly heads: number;
  /** Tokens that fit per sequence; a multiple of 4. */
  readonly capacity: number;
  /** Selections of all layers. */
  readonly groups: number;
  /** Query heads that share a selection. */
  readonly groupHeads: number;
  /** How their scores are combined: 0 mean, 1 sum, 2 maximum. */
  readonly reduction: number;
}

/**
 * Prepares the scores of a step's selections.
 *
 * @param buffers What it reads and writes.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If a size is not positive, the capacity is not a multiple of 4, or the reduction is unknown.
 */
export function matchedSaliencyCommand(
  buffers: MatchedSaliencyBuffers,
  shape: MatchedSaliencyShape,
): Command {
  const action = "score selections";
  for (const name of ["sequences", "heads", "groups", "groupHeads"] as const) {
    checkInteger(action, name, { value: shape[name], min: 1 });
  }
  checkInteger(action, "capacity / 4", { value: shape.capacity / 4, min: 1 });
  checkInteger(action, "reduction", { value: shape.reduction, min: 0, max: 2 });
  const { state, scores, match, joined, saliency } = buffers;
  const { groups, groupHeads, heads, capacity, reduction } = shape;
  return dispatch({
    kernel: matchedSaliency,
    buffers: { state, scores, matched: match, joined, saliency },
    params: { groups, group_heads: groupHeads, heads, capacity, reduction },
    grid: matchedSaliencyGrid(shape),
  });
}

/**
 * Counts the workgroups of `matched_saliency`.
 *
 * @param shape Sizes of the step.
 * @returns Blocks of tokens, head groups, sequences.
 */
export function matchedSaliencyGrid(
  shape: Pick<MatchedSaliencyShape, "sequences" | "groups" | "capacity">,
): [number, number, number] {
  return [Math.ceil(shape.capacity / BLOCK), shape.groups, shape.sequences];
}
