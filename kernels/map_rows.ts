/**
 * Attention rows of head groups, predicted from rows of small heads by a fitted map: contract and twin.
 *
 * @see docs/method.md, "Fitted maps"
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./map_rows.wgsl" with { type: "text" };

/** Contract of `map_rows.wgsl`. */
export const MAP_ROWS_CONTRACT = {
  name: "map_rows",
  wgsl,
  bindings: {
    state: "read u32",
    rows: "read f32",
    readers: "read u32",
    sources: "read u32",
    weights: "read f32",
    mapped: "write f32",
  },
  constants: { WORKGROUP_SIZE: 64 },
  params: { groups: "u32", width: "u32", heads: "u32", capacity: "u32" },
  workgroupBytes: 4 * 64,
} as const;

/** Contract and twin of `map_rows.wgsl`. */
export const mapRows: Kernel<typeof MAP_ROWS_CONTRACT> = defineKernel(
  MAP_ROWS_CONTRACT,
  predictRows,
  {
    module: CPU_MODULE,
    passes: ({ params: { groups, width, capacity }, grid }) => [
      { entry: "map_rows", items: grid[1] * groups, work: capacity / 4 * (width + 2) },
    ],
  },
);

function predictRows({ buffers, params, grid }: KernelRun<typeof MAP_ROWS_CONTRACT>): void {
  const { state, rows, readers, sources, weights, mapped } = buffers;
  const { groups, width, heads, capacity } = params;
  for (let sequence = state[0]!; sequence < state[0]! + grid[1]; sequence++) {
    const tokens = Math.min(state[1 + sequence]! + 1, capacity);
    for (let group = sequence * groups; group < (sequence + 1) * groups; group++) {
      const row = new Float64Array(4 * Math.ceil(tokens / 4));
      for (let k = group * width; k < (group + 1) * width; k++) {
        const first = (readers[sequence]! * heads + sources[k]!) * capacity;
        for (let token = 0; token < tokens; token++) {
          row[token]! += weights[k]! * rows[first + token]!;
        }
      }
      const clipped = row.map((value) => Math.max(0, value));
      const sum = clipped.reduce((left, right) => left + right, 0);
      mapped.set(clipped.map((value) => sum > 0 ? value / sum : 0), group * capacity);
    }
  }
}

/** Sizes of `map_rows`. */
export interface MapRowsShape {
  /** Sequences in the step. */
  readonly sequences: number;
  /** Head groups of all layers of the large model. */
  readonly groups: number;
  /** Most small heads of a head group. */
  readonly width: number;
  /** Query heads of all layers of the small model. */
  readonly heads: number;
  /** Tokens that fit per sequence; a multiple of 4. */
  readonly capacity: number;
}

/**
 * Prepares the prediction of a step's rows.
 *
 * @param buffers What it reads and writes; see the header of its WGSL.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If a size is not positive or the capacity is not a multiple of 4.
 */
export function mapRowsCommand(
  buffers: DispatchBuffers<typeof MAP_ROWS_CONTRACT>,
  shape: MapRowsShape,
): Command {
  const action = "map rows";
  for (const name of ["sequences", "groups", "width", "heads"] as const) {
    checkInteger(action, name, { value: shape[name], min: 1 });
  }
  checkInteger(action, "capacity / 4", { value: shape.capacity / 4, min: 1 });
  const { groups, width, heads, capacity } = shape;
  return dispatch({
    kernel: mapRows,
    buffers,
    params: { groups, width, heads, capacity },
    grid: mapRowsGrid(shape),
  });
}

/**
 * Counts the workgroups of `map_rows`.
 *
 * @param shape Sizes of the step.
 * @returns Head groups, sequences, 1.
 */
export function mapRowsGrid(
  { groups, sequences }: Pick<MapRowsShape, "groups" | "sequences">,
): [number, number, number] {
  return [groups, sequences, 1];
}
