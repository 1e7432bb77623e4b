/**
 * What selections hold and what it takes to get from one to the next, counted in half-entries: a key or a value of one
 * token.
 *
 * @module
 */

import type { Selection } from "../../cache/policy.ts";

/** Cost of the selections of one step, means over its selections. */
export interface StepCost {
  /** Half-entries held over those of the full cache. */
  readonly held: number;
  /** Share of the held tokens, the newest one left out, that were not held before. */
  readonly churn: number;
  /** Half-entries that had to come back from the host. */
  readonly loaded: number;
}

/**
 * Counts what a step's selections hold and load.
 *
 * @param before Selections of the step before, one per head group; none at the first step after a prompt, where all is held.
 * @param now Selections of this step, as many.
 * @param tokens Tokens of the sequence, the newest one included.
 * @returns Means over the head groups.
 */
export function stepCost(
  before: readonly Selection[] | undefined,
  now: readonly Selection[],
  tokens: number,
): StepCost {
  let [held, churn, loaded] = [0, 0, 0];
  now.forEach((selection, group) => {
    held += heldHalves(selection);
    const earlier = before?.[group];
    if (!earlier || earlier === selection) return;
    const coming = comingTokens(earlier, selection, tokens - 1);
    loaded += coming.keys + coming.values;
    churn += coming.values / Math.max(1, selection.full.length + selection.valueOnly.length - 1);
  });
  return {
    held: held / (2 * tokens * now.length),
    churn: churn / now.length,
    loaded: loaded / now.length,
  };
}

/**
 * Half-entries of a selection.
 *
 * @param selection Kept and marginal positions.
 * @returns Keys and values.
 */
export function heldHalves({ full, valueOnly }: Selection): number {
  return 2 * full.length + valueOnly.length;
}

/** Tokens whose key, and tokens whose value, was not held before; the newest one was computed, not loaded. */
function comingTokens(
  before: Selection,
  now: Selection,
  newest: number,
): { keys: number; values: number } {
  const keysBefore = new Set(before.full);
  const marginalBefore = new Set(before.valueOnly);
  let [keys, values] = [0, 0];
  for (const token of now.full) {
    if (token === newest || keysBefore.has(token)) continue;
    keys++;
    if (!marginalBefore.has(token)) values++;
  }
  for (const token of now.valueOnly) {
    if (!keysBefore.has(token) && !marginalBefore.has(token)) values++;
  }
  return { keys, values };
}
