/**
 * The rest of a selection: the tokens that it does not list count as one more token, whose value is their mean. Contract
 * and twin of the kernel that finds the mean, and what the mean adds to attention.
 *
 * @see docs/method.md, "The rest"
 * @module
 */

import { checkInteger, RequirementError } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { unpackStored } from "./attention_reference.ts";
import type { KvFormat } from "./attention_shape.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./rest_values.wgsl" with { type: "text" };
import { type ListedLayer, listOf, listParams } from "./selection_list.ts";

const WORKGROUP_SIZE = 256;

/** Numbers before the mean of a rest: its mass, and three zeros. */
export const REST_HEADER = 4;

/** Mass of a rest that follows from a row of attention: what the row leaves for it. */
export const ROW_MASS: number = -1;

/** Contract of `rest_values.wgsl`. */
export const REST_VALUES_CONTRACT = {
  name: "rest_values",
  wgsl,
  bindings: {
    state: "read u32",
    lists: "read u32",
    values: "read u32",
    sums: "read f32",
    masses: "read f32",
    rest: "write f32",
  },
  constants: { WORKGROUP_SIZE, HEAD_DIM: 64, HAS_F32_VALUES: 0 },
  params: {
    group_offset: "u32",
    groups: "u32",
    group_heads: "u32",
    list_words: "u32",
    groups_per_layer: "u32",
    kv_heads: "u32",
    rows_per_sequence: "u32",
    sum_offset: "u32",
  },
  workgroupBytes: 8 * WORKGROUP_SIZE,
} as const;

/** Contract and twin of `rest_values.wgsl`. */
export const restValues: Kernel<typeof REST_VALUES_CONTRACT> = defineKernel(
  REST_VALUES_CONTRACT,
  meanOfRest,
  {
    module: CPU_MODULE,
    passes: ({ params: { list_words }, constants: { HEAD_DIM }, grid: [groups, sequences] }) => [{
      entry: "rest_values",
      items: groups * sequences,
      work: list_words / 8 * HEAD_DIM / 4,
    }],
    threadBytes: ({ constants }) => 8 * constants.HEAD_DIM,
  },
);

function meanOfRest({ buffers, constants, params, grid }: KernelRun<typeof REST_VALUES_CONTRACT>) {
  const { state, sums, masses, rest } = buffers;
  const { HEAD_DIM: headDim, HAS_F32_VALUES } = constants;
  const { groups_per_layer, kv_heads } = params;
  const values = unpackStored(buffers.values, HAS_F32_VALUES === 1 ? "f32" : "f16");
  for (let index = 0; index < grid[1] * groups_per_layer; index++) {
    const sequence = state[0]! + Math.floor(index / groups_per_layer);
    const group = index % groups_per_layer;
    const headGroup = sequence * params.groups + params.group_offset + group;
    const list = listOf(buffers.lists, params, headGroup);
    const rows = list ? [...list.fullRows, ...list.valueOnlyRows] : [];
    const left = state[1 + sequence]! + params.rows_per_sequence - rows.length;
    const first = index * (REST_HEADER + headDim);
    rest.fill(0, first, first + REST_HEADER + headDim);
    if (left <= 0 || masses[headGroup] === 0) continue;
    rest[first] = masses[headGroup]!;
    const kvHead = Math.floor(group / (groups_per_layer / kv_heads));
    const sum = (params.sum_offset + sequence * kv_heads + kvHead) * headDim;
    for (let i = 0; i < headDim; i++) {
      const listed = rows.reduce((total, row) => total + values[row * headDim + i]!, 0);
      rest[first + REST_HEADER + i] = (sums[sum + i]! - listed) / left;
    }
  }
}

/** Sizes of `rest_values`. */
export interface RestValuesShape extends ListedLayer {
  /** Layer of the lists. */
  readonly layer: number;
  /** Sequences that have sums. */
  readonly summedSequences: number;
  /** New tokens of each sequence of the step. */
  readonly rowsPerSequence: number;
  /** KV heads of a layer. */
  readonly kvHeads: number;
  /** Elements of a head; even. */
  readonly headDim: number;
  /** How values are stored; `f16` if left out. */
  readonly valueFormat?: KvFormat | undefined;
}

/**
 * Prepares the means of a layer.
 *
 * @param buffers What it reads and writes; see the header of its WGSL.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If a size is not allowed, or KV heads share a selection.
 */
export function restValuesCommand(
  buffers: DispatchBuffers<typeof REST_VALUES_CONTRACT>,
  shape: RestValuesShape,
): Command {
  const action = "find the mean of the rest";
  const { layer, summedSequences, rowsPerSequence, groupsPerLayer, kvHeads, headDim } = shape;
  const pairs = { value: headDim / 2, min: 1, max: WORKGROUP_SIZE };
  checkInteger(action, "headDim / 2", pairs);
  checkInteger(action, "rowsPerSequence", { value: rowsPerSequence, min: 1 });
  if (groupsPerLayer % kvHeads !== 0) {
    throw new RequirementError({
      action,
      requirement: `groupsPerLayer must be a multiple of kvHeads (${kvHeads})`,
      current: groupsPerLayer,
    });
  }
  return dispatch({
    kernel: restValues,
    buffers,
    constants: { HEAD_DIM: headDim, HAS_F32_VALUES: shape.valueFormat === "f32" ? 1 : 0 },
    params: {
      ...listParams(action, shape),
      groups_per_layer: groupsPerLayer,
      kv_heads: kvHeads,
      rows_per_sequence: rowsPerSequence,
      sum_offset: layer * summedSequences * kvHeads,
    },
    grid: [groupsPerLayer, shape.sequences, 1],
  });
}

/** Masses of a query head: of full tokens, of value-only ones, and of full ones other than sinks. */
export interface RestMasses {
  /** On full tokens. */
  readonly kept: number;
  /** On value-only tokens. */
  readonly marginal: number;
  /** On full tokens other than sinks. */
  readonly others: number;
}

/**
 * Adds the rest to the masses of a query head, as `selected_attention_merge_rest` does.
 *
 * Without a row the masses of full tokens are what the rest leaves, and sinks have their share of the large model's
 * softmax.
 *
 * @param masses Masses by the row; zeros without one.
 * @param given The rest's mass, `ROW_MASS`, or 0 where there is no rest.
 * @param largeOthers Share of the softmax over full tokens that falls on those other than sinks.
 * @returns The rest's own mass, and the masses with it: it counts as value-only.
 */
export function withRest(
  { kept, marginal, others }: RestMasses,
  given: number,
  largeOthers: number,
): { readonly rest: number; readonly masses: RestMasses } {
  if (given > 0) {
    const left = Math.max(0, 1 - given - marginal);
    const masses = { kept: left, marginal: marginal + given, others: left * largeOthers };
    return { rest: given, masses };
  }
  const rest = given < 0 ? Math.max(0, 1 - kept - marginal) : 0;
  if (rest + marginal === 0) return { rest, masses: { kept: 0, marginal: 0, others: 0 } };
  return { rest, masses: { kept, marginal: marginal + rest, others } };
}
