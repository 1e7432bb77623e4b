/**
 * What one layer's own attention says of the kept tokens of each selection: contract and twin.
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type BufferWindow, type Command, type DeviceBuffer, dispatch } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import wgsl from "./scatter_scores.wgsl" with { type: "text" };
import { LIST_HEADER_WORDS, listRoom } from "./selection_list.ts";

const BLOCK = 512;

/** Contract of `scatter_scores.wgsl`. */
export const SCATTER_SCORES_CONTRACT = {
  name: "scatter_scores",
  wgsl,
  bindings: { lists: "read u32", weights: "read f32", own: "write f32" },
  constants: { WORKGROUP_SIZE: 64, BLOCK },
  params: {
    units_per_layer: "u32",
    unit_offset: "u32",
    units: "u32",
    unit_heads: "u32",
    list_words: "u32",
    capacity: "u32",
    weight_stride: "u32",
    decay: "f32",
  },
} as const;

/** Contract and twin of `scatter_scores.wgsl`. */
export const scatterScores: Kernel<typeof SCATTER_SCORES_CONTRACT> = defineKernel(
  SCATTER_SCORES_CONTRACT,
  scatter,
);

function scatter({ buffers, params, grid }: KernelRun<typeof SCATTER_SCORES_CONTRACT>): void {
  const { lists, weights, own } = buffers;
  const { units_per_layer, unit_heads, list_words, weight_stride } = params;
  const room = listRoom({ listWords: list_words, unitHeads: unit_heads });
  for (let index = 0; index < grid[2] * units_per_layer; index++) {
    const sequence = Math.floor(index / units_per_layer);
    const unit = sequence * params.units + params.unit_offset + index % units_per_layer;
    const list = lists.subarray(unit * list_words, (unit + 1) * list_words);
    const kept = list[0]! > room ? 0 : list[0]!;
    for (let entry = 0; entry < kept; entry++) {
      let sum = 0;
      for (let member = 0; member < unit_heads; member++) {
        sum += weights[(index * unit_heads + member) * weight_stride + entry]!;
      }
      const token = list[LIST_HEADER_WORDS + unit_heads + 2 * entry]!;
      const place = unit * params.capacity + token;
      own[place] = params.decay * own[place]! + sum / unit_heads;
    }
  }
}

/** Buffers of `scatter_scores`. */
export interface ScatterScoresBuffers {
  /** Kept tokens, u32 [sequences, units, listWords]; see `selection_list.ts`. */
  readonly lists: DeviceBuffer | BufferWindow;
  /** Softmax over each list, f32 [sequences, query heads, weightStride]. */
  readonly weights: DeviceBuffer | BufferWindow;
  /** What is remembered of each token, f32 [sequences, units, capacity]. */
  readonly own: DeviceBuffer | BufferWindow;
}

/** Sizes of `scatter_scores`. */
export interface ScatterScoresShape {
  /** Sequences, all of the cache. */
  readonly sequences: number;
  /** Selections of a layer. */
  readonly unitsPerLayer: number;
  /** First selection of the layer. */
  readonly unitOffset: number;
  /** Selections of all layers. */
  readonly units: number;
  /** Query heads that share a selection. */
  readonly unitHeads: number;
  /** Words of a list. */
  readonly listWords: number;
  /** Tokens that fit per sequence. */
  readonly capacity: number;
  /** Elements from one head's softmax to the next. */
  readonly weightStride: number;
  /** Whether attention is added to what is there, or takes its place. */
  readonly isSum: boolean;
}

/**
 * Prepares the update for one layer.
 *
 * @param buffers What it reads and writes.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RangeError} If a size is not positive or the layer's selections lie outside.
 */
export function scatterScoresCommand(
  buffers: ScatterScoresBuffers,
  shape: ScatterScoresShape,
): Command {
  const action = "scatter scores";
  const { unitsPerLayer, unitOffset, units, unitHeads, listWords, capacity, weightStride } = shape;
  for (const name of ["sequences", "unitsPerLayer", "unitHeads", "capacity"] as const) {
    checkInteger(action, name, { value: shape[name], min: 1 });
  }
  checkInteger(action, "unitOffset", { value: unitOffset, min: 0, max: units - unitsPerLayer });
  checkInteger(action, "listWords", { value: listWords, min: LIST_HEADER_WORDS + unitHeads });
  return dispatch({
    kernel: scatterScores,
    buffers: { lists: buffers.lists, weights: buffers.weights, own: buffers.own },
    params: {
      units_per_layer: unitsPerLayer,
      unit_offset: unitOffset,
      units,
      unit_heads: unitHeads,
      list_words: listWords,
      capacity,
      weight_stride: weightStride,
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
  shape: Pick<ScatterScoresShape, "listWords" | "sequences" | "unitHeads" | "unitsPerLayer">,
): [number, number, number] {
  return [Math.max(1, Math.ceil(listRoom(shape) / BLOCK)), shape.unitsPerLayer, shape.sequences];
}
