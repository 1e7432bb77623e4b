/**
 * Which tier each kept token of a selection belongs to, for reports.
 *
 * @module
 */

import type { Selection } from "../../cache/policy.ts";
import type { CacheBudget } from "../../cache/budget.ts";
import type { ModelConfig } from "../../models/config.ts";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import { unitShape } from "./head_groups.ts";

/** Positions of a selection by tier, each ascending. */
export interface SelectionTiers {
  /** Kept for their rank, with key and value; sinks too. */
  readonly critical: Uint32Array;
  /** Newest kept tokens, with key and value. */
  readonly recent: Uint32Array;
  /** Value only. */
  readonly marginal: Uint32Array;
}

/** Tokens per tier, mean over the selections of a sequence. */
export interface TierSizes {
  /** Key and value, for their rank. */
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
 * @param selection Kept and marginal positions.
 * @param recent Recent tokens by the policy's counts; the newest kept ones are taken for them.
 * @returns Positions by tier.
 */
export function selectionTiers(selection: Selection, recent: number): SelectionTiers {
  const { kept, marginal } = selection;
  const first = Math.max(0, kept.length - recent);
  return { critical: kept.slice(0, first), recent: kept.slice(first), marginal };
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
  options: { readonly tokens: number; readonly recentOf: (unit: number) => number },
): TierSizes {
  let [critical, recent, marginal] = [0, 0, 0];
  selections.forEach((selection, unit) => {
    const newest = Math.min(options.recentOf(unit), selection.kept.length);
    critical += selection.kept.length - newest;
    recent += newest;
    marginal += selection.marginal.length;
  });
  const units = selections.length;
  return {
    critical: critical / units,
    recent: recent / units,
    marginal: marginal / units,
    none: options.tokens - (critical + recent + marginal) / units,
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
 * Recent tokens by a policy's counts.
 *
 * @param setting Policy, budget, model.
 * @param place Tokens of sequence and prompt.
 * @returns One count per layer.
 */
export function recentCounts(
  { policy, budget, config: { layers } }: TierSetting,
  place: SequencePlace,
): number[] {
  const request = { ...place, budget, layers };
  return Array.from({ length: layers }, (_, layer) => policy.counts({ ...request, layer }).recent);
}

/**
 * Makes a function that counts tokens per tier.
 *
 * @param setting Policy, budget, model.
 * @returns Counts the tiers of a sequence's selections.
 */
export function tierCounter(
  setting: TierSetting,
): (selections: readonly Selection[], place: SequencePlace) => TierSizes {
  const { perLayer } = unitShape(setting.config, setting.policy.granularity);
  return (selections, place) => {
    const recent = recentCounts(setting, place);
    return tierSizes(selections, {
      tokens: place.tokens,
      recentOf: (unit) => recent[Math.floor(unit / perLayer)]!,
    });
  };
}
