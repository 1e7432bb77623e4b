/**
 * Inputs for the tests of the rest: runs of attention to lists, with the sums of all values.
 *
 * @module
 */

import { unpackFloat16 } from "../../core/float16.ts";
import type { KernelArrays } from "../../gpu/kernel.ts";
import { REST_HEADER, ROW_MASS } from "../../kernels/rest_values.ts";
import type { REST_VALUES_CONTRACT, restValues } from "../../kernels/rest_values.ts";
import { listOf, WEIGHED_REST } from "../../kernels/selection_list.ts";
import type { ArrayRun } from "../support/run_kernel.ts";
import { unwritten } from "./attention_cases.ts";
import { type SelectedCase, type SelectedRun, selectedShape } from "./selected_cases.ts";

const LAYERS = 3;
/** Layer of the lists, as in `selectedRun`. */
const LAYER = 1;

/** Numbers of stored values. */
export function valuesOf({ buffers: { values } }: SelectedRun, sizes: SelectedCase) {
  return sizes.valueFormat === "f32"
    ? new Float32Array(values.buffer as ArrayBuffer)
    : unpackFloat16(values);
}

/** How much of the attention falls on the rest of a head group: by the row, none, or given. */
export function massOf(headGroup: number): number {
  return [ROW_MASS, 0, 0.3, ROW_MASS, 0.9][headGroup % 5]!;
}

/** Says in the lists which of them the small model's row weighs; with `mass` in place of `massOf`. */
export function weighed(run: SelectedRun, mass = massOf): SelectedRun {
  const { list_words } = run.params;
  const lists = run.buffers.lists.slice();
  for (let group = 0; group < lists.length / list_words; group++) {
    if (mass(group) < 0) lists[group * list_words + 3]! += WEIGHED_REST;
  }
  return { ...run, buffers: { ...run.buffers, lists } };
}

/**
 * The run of `rest_values` that belongs to a run of attention.
 *
 * @param sizes The case; its head vectors must lie in order.
 * @param run Its run.
 * @param mass The rest's mass of each head group; `massOf` if left out.
 * @returns Arrays, with sums of all tokens up to the newest one.
 */
export function restRun(
  sizes: SelectedCase,
  run: SelectedRun,
  mass = massOf,
): ArrayRun<typeof restValues> {
  const { kvHeads, headDim, rowsPerSequence = 1, firstSequence = 0 } = sizes;
  const { capacity } = selectedShape(sizes);
  const { groups, groups_per_layer, group_offset, list_words, query_heads } = run.params;
  const { state, lists, values } = run.buffers;
  const sequences = state.length - 1;
  const numbers = valuesOf(run, sizes);
  const sums = unwritten(LAYERS * sequences * kvHeads * headDim);
  for (let head = 0; head < sequences * kvHeads; head++) {
    const place = (LAYER * sequences * kvHeads + head) * headDim;
    sums.fill(0, place, place + headDim);
    const tokens = state[1 + Math.floor(head / kvHeads)]! + rowsPerSequence;
    for (let i = 0; i < headDim; i++) {
      let sum = 0;
      for (let token = 0; token < tokens; token++) {
        sum += numbers[(head * capacity + token) * headDim + i]!;
      }
      sums[place + i] = sum;
    }
  }
  const steps = sequences - firstSequence;
  const buffers: KernelArrays<typeof REST_VALUES_CONTRACT> = {
    state,
    lists,
    values,
    sums,
    masses: Float32Array.from({ length: sequences * groups }, (_, group) => mass(group)),
    rest: unwritten(steps * groups_per_layer * (REST_HEADER + headDim)),
  };
  return {
    buffers,
    constants: { HEAD_DIM: headDim, HAS_F32_VALUES: sizes.valueFormat === "f32" ? 1 : 0 },
    params: {
      group_offset,
      groups,
      group_heads: query_heads / groups_per_layer,
      list_words,
      groups_per_layer,
      kv_heads: kvHeads,
      rows_per_sequence: rowsPerSequence,
      sum_offset: LAYER * sequences * kvHeads,
    },
    grid: [groups_per_layer, steps, 1],
  };
}

/** Tokens and rows of what a head group's list leaves out. */
export function restOf(sizes: SelectedCase, run: SelectedRun, headGroup: number) {
  const { kvHeads, rowsPerSequence = 1 } = sizes;
  const { groups, groups_per_layer, list_words, query_heads } = run.params;
  const size = { list_words, group_heads: query_heads / groups_per_layer };
  const { full, valueOnly } = listOf(run.buffers.lists, size, headGroup)!;
  const known = new Set([...full, ...valueOnly]);
  const sequence = Math.floor(headGroup / groups);
  const kvHead = Math.floor(headGroup % groups_per_layer / (groups_per_layer / kvHeads));
  const tokens: number[] = [];
  for (let token = 0; token < run.buffers.state[1 + sequence]! + rowsPerSequence; token++) {
    if (!known.has(token)) tokens.push(token);
  }
  const first = (sequence * kvHeads + kvHead) * selectedShape(sizes).capacity;
  return { tokens, rows: tokens.map((token) => first + token) };
}
