/**
 * What selections hold and what it costs to move from one to the next, counted in half-entries: a key or a value of one
 * token.
 *
 * @module
 */

import type { Selection } from "../../cache/policy.ts";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import { budgeted } from "../../cache/windowed_layers.ts";

/** Cost of the selections of one step, means over its selections. */
export interface StepCost {
  /** Half-entries held over those of the full cache. */
  readonly held: number;
  /** Share of the held tokens, without the newest one, that were not held before. */
  readonly churn: number;
  /** Half-entries loaded from the host. */
  readonly loaded: number;
}

/**
 * Counts what a step's selections hold and load.
 *
 * @param before Selections of the step before, one per head group; none at the first step after a prompt, which held all.
 * @param now Selections of this step, one per head group.
 * @param tokens Tokens of the sequence, the newest one included.
 * @param policy The policy, whose windows tell which layers a budget is for, and how much of the others a cache needs.
 * @returns Means over the head groups; layers with a window count only where the budget counts them.
 */
export function stepCost(
  before: readonly Selection[] | undefined,
  now: readonly Selection[],
  tokens: number,
  policy: Pick<ResolvedPolicy, "windows" | "windowed"> = { windowed: "apart" },
): StepCost {
  if (policy.windows && policy.windowed === "apart") {
    return stepCost(
      before && budgeted(policy, before),
      budgeted(policy, now),
      tokens,
    );
  }
  let [held, full, churn, loaded] = [0, 0, 0, 0];
  const perLayer = now.length / (policy.windows?.length ?? now.length);
  now.forEach((selection, group) => {
    held += heldHalves(selection);
    full += 2 * Math.min(tokens, policy.windows?.[Math.floor(group / perLayer)] ?? tokens);
    const earlier = before?.[group];
    if (!earlier || earlier === selection) return;
    const coming = comingTokens(earlier, selection, tokens - 1);
    loaded += coming.keys + coming.values;
    churn += coming.values / Math.max(1, selection.full.length + selection.valueOnly.length - 1);
  });
  return {
    held: held / full,
    churn: churn / now.length,
    loaded: loaded / now.length,
  };
}

/** Half-entries of a selection. */
export function heldHalves({ full, valueOnly }: Selection): number {
  return 2 * full.length + valueOnly.length;
}

/** Counts keys and values that were not held before; those of the newest token were computed, not loaded. */
function comingTokens(
  before: Selection,
  now: Selection,
  newest: number,
): { keys: number; values: number } {
  const keysBefore = new Set(before.full);
  const valuesBefore = new Set(before.valueOnly);
  let [keys, values] = [0, 0];
  for (const token of now.full) {
    if (token === newest || keysBefore.has(token)) continue;
    keys++;
    if (!valuesBefore.has(token)) values++;
  }
  for (const token of now.valueOnly) {
    if (!keysBefore.has(token) && !valuesBefore.has(token)) values++;
  }
  return { keys, values };
}
