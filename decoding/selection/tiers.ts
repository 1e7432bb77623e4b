/**
 * The tier of each kept token of a selection, for reports.
 *
 * @module
 */

import type { Selection } from "../../cache/policy.ts";
import type { CacheBudget } from "../../cache/budget.ts";
import type { ModelConfig } from "../../models/config.ts";
import { tierLimit } from "../../cache/tiered_pools.ts";
import { budgeted, withWindows } from "../../cache/windowed_layers.ts";
import { layerWindows } from "../../models/layer_windows.ts";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import { headGroups } from "./head_groups.ts";

/** Positions of a selection by tier, each ascending. */
interface SelectionTiers {
  /** Kept with key and value for their rank, including sinks. */
  readonly critical: Uint32Array;
  /** The newest tokens kept with key and value. */
  readonly recent: Uint32Array;
  /** Kept with value only. */
  readonly marginal: Uint32Array;
}

/** Tokens per tier, mean over the selections of a sequence. */
export interface TierSizes {
  /** Key and value, for their rank or as first tokens that are always kept. */
  readonly critical: number;
  /** Key and value, newest. */
  readonly recent: number;
  /** Value only. */
  readonly marginal: number;
  /** Neither. */
  readonly none: number;
}

/**
 * Splits a selection by tier.
 *
 * @param selection Full and value-only positions.
 * @param recent How many tokens are recent by the policy's counts; these are the newest full ones.
 * @returns Positions by tier.
 */
export function selectionTiers(selection: Selection, recent: number): SelectionTiers {
  const { full, valueOnly } = selection;
  const first = Math.max(0, full.length - recent);
  return { critical: full.slice(0, first), recent: full.slice(first), marginal: valueOnly };
}

/**
 * Counts the tokens of each tier.
 *
 * @param selections Selections of one sequence, at least one.
 * @param options Tokens of the sequence, and the recent tokens by the policy's counts of each selection.
 * @returns Means over the selections.
 */
export function tierSizes(
  selections: readonly Selection[],
  options: { readonly tokens: number; readonly recentOf: (group: number) => number },
): TierSizes {
  let [critical, recent, marginal] = [0, 0, 0];
  selections.forEach((selection, group) => {
    const newest = Math.min(options.recentOf(group), selection.full.length);
    critical += selection.full.length - newest;
    recent += newest;
    marginal += selection.valueOnly.length;
  });
  const groups = selections.length;
  return {
    critical: critical / groups,
    recent: recent / groups,
    marginal: marginal / groups,
    none: options.tokens - (critical + recent + marginal) / groups,
  };
}

/** A sequence at a step. */
export interface SequencePlace {
  /** Tokens that the step's attention could have seen. */
  readonly tokens: number;
  /** Tokens of its prompt. */
  readonly promptTokens: number;
}

/** What decides how many tokens are recent. */
export interface TierSetting {
  /** The rule. */
  readonly policy: ResolvedPolicy;
  /** What may be kept. */
  readonly budget: CacheBudget;
  /** Sizes of the large model. */
  readonly config: ModelConfig;
}

/**
 * Counts recent tokens as a policy does.
 *
 * @param setting Policy, budget, model.
 * @param place Tokens of sequence and prompt.
 * @returns One count per layer.
 */
export function recentCounts(
  { policy: given, budget, config }: TierSetting,
  place: SequencePlace,
): number[] {
  const { layers, headDim } = config;
  const policy = withWindows(given, layerWindows(config));
  const request = { ...place, budget, layers, headDim };
  return Array.from({ length: layers }, (_, layer) => policy.counts({ ...request, layer }).recent);
}

/**
 * Whether a policy keeps every token of a sequence with key and value, in the layers that see all tokens.
 *
 * @param setting Policy, budget, model.
 * @param place Tokens of sequence and prompt.
 */
export function keepsAll(
  { policy: given, budget, config }: TierSetting,
  { tokens, promptTokens }: SequencePlace,
): boolean {
  const { layers, headDim } = config;
  const policy = withWindows(given, layerWindows(config));
  const request = { budget, promptTokens, layers, headDim, capacity: tokens };
  for (let layer = 0; layer < layers; layer++) {
    if (policy.windows?.[layer] !== undefined) continue;
    if (tierLimit(policy, request, { layer, tokens }).full < tokens) return false;
  }
  return true;
}

/**
 * Makes a function that counts tokens per tier.
 *
 * @param setting Policy, budget, model.
 * @returns Counts the tiers of a sequence's selections, of layers that the budget is for.
 */
export function tierCounter(
  setting: TierSetting,
): (selections: readonly Selection[], place: SequencePlace) => TierSizes {
  const { perLayer } = headGroups(setting.config, setting.policy.granularity);
  const policy = withWindows(setting.policy, layerWindows(setting.config));
  return (selections, place) => {
    const recent = budgeted(policy, recentCounts({ ...setting, policy }, place));
    return tierSizes(budgeted(policy, selections), {
      tokens: place.tokens,
      recentOf: (group) => recent[Math.floor(group / perLayer)]!,
    });
  };
}
