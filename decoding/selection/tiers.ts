/**
 * Which tier each kept token of a selection belongs to, for reports.
 *
 * @module
 */

import type { Selection } from "../../cache/policy.ts";

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
