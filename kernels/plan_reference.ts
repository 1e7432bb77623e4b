/**
 * What the kernels have in common that rank the tokens of each selection: bindings, parameters and twin.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, section 4.1; decisions D-7 and D-11
 * @module
 */

import type { KernelContract, KernelRun } from "../gpu/kernel.ts";
import { BROKEN_LIST, CALIBRATION_SINKS, LIST_HEADER_WORDS, listRoom } from "./selection_list.ts";

/** Storage buffers; the headers of the WGSL files say what each holds. */
export const PLAN_BINDINGS = {
  state: "read u32",
  saliency: "read u32",
  budgets: "read u32",
  matched: "read u32",
  residency: "read u32",
  slots: "read u32",
  lists: "write u32",
} as const;

/** Fields of `Params`. */
export const PLAN_PARAMS = {
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
} as const;

/** Contract of a kernel that plans. */
export interface PlanContract extends KernelContract {
  /** Storage buffers. */
  readonly bindings: typeof PLAN_BINDINGS;
  /** Sizes and flags. */
  readonly params: typeof PLAN_PARAMS;
}

/** A run of either kernel; constants do not matter. */
export type PlanRun = Omit<KernelRun<PlanContract>, "constants">;

/**
 * Chooses the tokens of all selections.
 *
 * @param run Arrays, parameters, grid.
 */
export function planAll(run: PlanRun): void {
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
  { buffers, params }: PlanRun,
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
