/**
 * Running scores of a small model's heads: the attention that each token has received. Contract and twin.
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./update_scores.wgsl" with { type: "text" };

const BLOCK = 1024;

/** Contract of `update_scores.wgsl`. */
export const UPDATE_SCORES_CONTRACT = {
  name: "update_scores",
  wgsl,
  bindings: { state: "read u32", rows: "read f32", decays: "read f32", scores: "write f32" },
  constants: { WORKGROUP_SIZE: 64, BLOCK },
  params: { heads: "u32", capacity: "u32" },
} as const;

/** Contract and twin of `update_scores.wgsl`. */
export const updateScores: Kernel<typeof UPDATE_SCORES_CONTRACT> = defineKernel(
  UPDATE_SCORES_CONTRACT,
  remember,
  {
    module: CPU_MODULE,
    passes: ({ params: { heads, capacity }, grid }) => [
      { entry: "update_scores", items: grid[2] * heads, work: capacity / 4 },
    ],
  },
);

function remember({ buffers, params, grid }: KernelRun<typeof UPDATE_SCORES_CONTRACT>): void {
  const { state, rows, decays, scores } = buffers;
  const { heads, capacity } = params;
  for (let sequence = state[0]!; sequence < state[0]! + grid[2]; sequence++) {
    const tokens = Math.min(state[1 + sequence]! + 1, capacity);
    const decay = decays[sequence]!;
    for (let head = 0; head < heads; head++) {
      const first = (sequence * heads + head) * capacity;
      for (let i = first; i < first + tokens; i++) scores[i] = decay * scores[i]! + rows[i]!;
    }
  }
}

/** Sizes of `update_scores`. */
export interface UpdateScoresShape {
  /** Sequences in the step. */
  readonly sequences: number;
  /** Query heads of all layers of the small model. */
  readonly heads: number;
  /** Tokens that fit per sequence; a multiple of 4. */
  readonly capacity: number;
}

/**
 * Prepares the update of a step.
 *
 * @param buffers What it reads and writes; see the header of its WGSL.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If a size is not positive or the capacity is not a multiple of 4.
 */
export function updateScoresCommand(
  buffers: DispatchBuffers<typeof UPDATE_SCORES_CONTRACT>,
  shape: UpdateScoresShape,
): Command {
  const { heads, capacity } = shape;
  for (const name of ["sequences", "heads"] as const) {
    checkInteger("update scores", name, { value: shape[name], min: 1 });
  }
  checkInteger("update scores", "capacity / 4", { value: capacity / 4, min: 1 });
  return dispatch({
    kernel: updateScores,
    buffers,
    params: { heads, capacity },
    grid: updateScoresGrid(shape),
  });
}

/**
 * Counts the workgroups of `update_scores`.
 *
 * @param shape Sizes of the step.
 * @returns Blocks of tokens, heads, sequences.
 */
export function updateScoresGrid(
  shape: Pick<UpdateScoresShape, "sequences" | "heads" | "capacity">,
): [number, number, number] {
  return [Math.ceil(shape.capacity / BLOCK), shape.heads, shape.sequences];
}
