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
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./plan_by_saliency.wgsl" with { type: "text" };
import { BROKEN_LIST, CALIBRATION_SINKS, LIST_HEADER_WORDS, listRoom } from "./selection_list.ts";

const WORKGROUP_SIZE = 64;

/** Bytes of a thread of the CPU device before two arrays of orders. */
const PLAN_BYTES = 64 + 4 * 256;

/** Contract of `plan_by_saliency.wgsl`. */
export const PLAN_BY_SALIENCY_CONTRACT = {
  name: "plan_by_saliency",
  wgsl,
  bindings: {
    state: "read u32",
    saliency: "read u32",
    budgets: "read u32",
    matched: "read u32",
    residency: "read u32",
    slots: "read u32",
    lists: "write u32",
  },
  constants: { WORKGROUP_SIZE, BROKEN_LIST, CALIBRATION_SINKS, HEADER_WORDS: LIST_HEADER_WORDS },
  params: {
    groups: "u32",
    group_heads: "u32",
    groups_per_layer: "u32",
    kv_heads: "u32",
    capacity: "u32",
    list_words: "u32",
    tokens_offset: "u32",
    only_kept: "u32",
    ties_later: "u32",
    group_offset: "u32",
    has_slots: "u32",
  },
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

type Run = KernelRun<typeof PLAN_BY_SALIENCY_CONTRACT>;

function planAll(run: Run): void {
  const { buffers: { state, lists, matched, slots }, params, grid } = run;
  const { groups, group_heads, groups_per_layer, kv_heads, list_words, capacity } = params;
  const room = listRoom({ listWords: list_words, groupHeads: group_heads });
  const [planned, sequences] = grid;
  for (let index = 0; index < sequences * planned; index++) {
    const sequence = state[0]! + Math.floor(index / planned);
    const headGroup = sequence * groups + params.group_offset + index % planned;
    const plan = planOne(run, { sequence, headGroup });
    const list = lists.subarray(headGroup * list_words, (headGroup + 1) * list_words);
    list.set(
      matched.subarray(headGroup * group_heads, (headGroup + 1) * group_heads),
      LIST_HEADER_WORDS,
    );
    const isBroken = !plan || plan.kept.length + plan.marginal.length > room;
    const { kept, marginal } = plan ?? { kept: [], marginal: [] };
    const sinks = kept.filter((token) => token < CALIBRATION_SINKS).length;
    list.set(isBroken ? [BROKEN_LIST, 0, 0] : [kept.length, marginal.length, sinks]);
    if (isBroken) continue;
    const kvHead = Math.floor(headGroup % groups % groups_per_layer * kv_heads / groups_per_layer);
    const layer = Math.floor(headGroup % groups / groups_per_layer);
    const own = params.has_slots === 1 ? slots[layer]! : capacity;
    const firstRow = (sequence * kv_heads + kvHead) * own;
    const entries = [...kept, ...marginal].flatMap((token) => [token, firstRow + token % own]);
    list.set(entries, LIST_HEADER_WORDS + group_heads);
  }
}

/** Kept and marginal tokens of one selection, ascending; undefined if a score is not a number. */
function planOne(
  { buffers, params }: Run,
  at: { readonly sequence: number; readonly headGroup: number },
): { readonly kept: number[]; readonly marginal: number[] } | undefined {
  const { capacity } = params;
  const place = at.headGroup * capacity;
  const tokens = Math.min(buffers.state[1 + at.sequence]! + params.tokens_offset, capacity);
  const bits = buffers.saliency.slice(place, place + tokens);
  const scores = new Float32Array(bits.buffer);
  if (scores.some(Number.isNaN)) return undefined;
  const [sink, recent, critical, marginal] = buffers.budgets.subarray(
    4 * at.headGroup,
    4 * at.headGroup + 4,
  );
  const isFixed = (token: number) => token < sink! || token >= tokens - recent!;
  const isOpen = (token: number) =>
    params.only_kept === 0 || buffers.residency[place + token] === 1;
  const all = Array.from(bits, (_, token) => token);
  const direction = params.ties_later === 1 ? -1 : 1;
  const ranked = all.filter((token) => !isFixed(token) && isOpen(token)).sort((a, b) =>
    scores[a] === scores[b] ? direction * (a - b) : scores[a]! > scores[b]! ? -1 : 1
  );
  const ascending = (list: number[]) => list.sort((a, b) => a - b);
  return {
    kept: ascending([...all.filter(isFixed), ...ranked.slice(0, critical)]),
    marginal: ascending(ranked.slice(critical, critical! + marginal!)),
  };
}

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
 * @param buffers What it reads and writes.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If a size is not positive or lists have no room.
 */
export function planBySaliencyCommand(
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
  return dispatch({
    kernel: planBySaliencyKernel,
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
  });
}
