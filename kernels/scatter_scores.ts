/**
 * Scores of the kept tokens of each selection from one layer's attention of the large model: contract and twin.
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./scatter_scores.wgsl" with { type: "text" };
import { type ListedLayer, listOf, listParams, listRoom } from "./selection_list.ts";

const BLOCK = 512;

/** Contract of `scatter_scores.wgsl`. */
export const SCATTER_SCORES_CONTRACT = {
  name: "scatter_scores",
  wgsl,
  bindings: { lists: "read u32", attention: "read f32", large_scores: "write f32" },
  constants: { WORKGROUP_SIZE: 64, BLOCK },
  params: {
    groups_per_layer: "u32",
    group_offset: "u32",
    groups: "u32",
    group_heads: "u32",
    list_words: "u32",
    capacity: "u32",
    attention_stride: "u32",
    decay: "f32",
  },
} as const;

/** Contract and twin of `scatter_scores.wgsl`. */
export const scatterScores: Kernel<typeof SCATTER_SCORES_CONTRACT> = defineKernel(
  SCATTER_SCORES_CONTRACT,
  scatter,
  {
    module: CPU_MODULE,
    passes: ({ params: { capacity, group_heads }, grid: [, groups, sequences] }) => [
      { entry: "scatter_scores", items: groups * sequences, work: capacity / 2 * group_heads },
    ],
  },
);

function scatter({ buffers, params, grid }: KernelRun<typeof SCATTER_SCORES_CONTRACT>): void {
  const { lists, attention, large_scores } = buffers;
  const { groups_per_layer, group_heads, attention_stride } = params;
  for (let index = 0; index < grid[2] * groups_per_layer; index++) {
    const sequence = Math.floor(index / groups_per_layer);
    const headGroup = sequence * params.groups + params.group_offset + index % groups_per_layer;
    listOf(lists, params, headGroup)?.full.forEach((token, entry) => {
      let sum = 0;
      for (let member = 0; member < group_heads; member++) {
        sum += attention[(index * group_heads + member) * attention_stride + entry]!;
      }
      const place = headGroup * params.capacity + token;
      large_scores[place] = params.decay * large_scores[place]! + sum / group_heads;
    });
  }
}

/** Sizes of `scatter_scores`. */
export interface ScatterScoresShape extends ListedLayer {
  /** Tokens that fit per sequence. */
  readonly capacity: number;
  /** Elements from one head's softmax to the next. */
  readonly attentionStride: number;
  /** Whether attention is added to the stored scores or replaces them. */
  readonly isSum: boolean;
}

/**
 * Prepares the update for one layer.
 *
 * @param buffers What it reads and writes; see the header of its WGSL.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If a size is not positive or the layer's selections are out of range.
 */
export function scatterScoresCommand(
  buffers: DispatchBuffers<typeof SCATTER_SCORES_CONTRACT>,
  shape: ScatterScoresShape,
): Command {
  const action = "scatter scores";
  const { groupsPerLayer, capacity, attentionStride } = shape;
  const listed = listParams(action, shape);
  checkInteger(action, "capacity", { value: capacity, min: 1 });
  return dispatch({
    kernel: scatterScores,
    buffers,
    params: {
      ...listed,
      groups_per_layer: groupsPerLayer,
      capacity,
      attention_stride: attentionStride,
      decay: shape.isSum ? 1 : 0,
    },
    grid: scatterScoresGrid(shape),
  });
}

/**
 * Counts the workgroups of `scatter_scores`.
 *
 * @param shape Sizes of the step.
 * @returns Blocks of list entries, selections of the layer, sequences.
 */
export function scatterScoresGrid(
  shape: Pick<ScatterScoresShape, "listWords" | "sequences" | "groupHeads" | "groupsPerLayer">,
): [number, number, number] {
  return [Math.max(1, Math.ceil(listRoom(shape) / BLOCK)), shape.groupsPerLayer, shape.sequences];
}
