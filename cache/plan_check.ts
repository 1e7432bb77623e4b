/**
 * Checks of custom policies: plans within their counts, counts within the budget.
 *
 * @module
 */

import { counted } from "../core/counted.ts";
import { RequirementError } from "../core/check.ts";
import { type CacheBudget, halfEntries, type TierCounts } from "./budget.ts";
import type { Policy, PrunedLayer, Selection } from "./policy.ts";

/** What a plan was made for. */
interface PlanPlace {
  /** The rule. */
  readonly policy: Pick<Policy, "name" | "candidates">;
  /** Tokens of the sequence, the newest one included. */
  readonly tokens: number;
  /** Tokens of each tier that the counts allow. */
  readonly counts: TierCounts;
  /** Layer, and the head or heads that share the plan, as in "layer 2, KV head 1". */
  readonly place: string;
  /** Tokens held before. */
  readonly held: Uint32Array;
}

/**
 * Throws unless a plan is a selection that costs no more than its counts.
 *
 * @param selection What was chosen.
 * @param at What it was chosen for.
 * @throws {RequirementError} If it costs more, lists positions twice, out of order or beyond the end, leaves out the newest
 *   token, or brings back what was dropped for good; the message names the layer, the head and the counts.
 */
export function checkPlan(selection: Selection, at: PlanPlace): void {
  const { policy, counts, tokens, place } = at;
  const { full, valueOnly } = selection;
  const allowed = halves(counts);
  const used = 2 * full.length + valueOnly.length;
  const wrong = (requirement: string, current: string) =>
    new RequirementError({
      action: `plan under ${policy.name}`,
      requirement: `${place} must ${requirement}`,
      state: `plan ${current}`,
    });
  if (used > allowed) {
    throw wrong(
      `hold at most ${allowed} half-entries (${countsText(counts)})`,
      `holds ${used}, ${
        counted(full.length, "token")
      } with key and value and ${valueOnly.length} with value only`,
    );
  }
  const seen = new Uint8Array(tokens);
  for (const positions of [full, valueOnly]) {
    let last = -1;
    for (const position of positions) {
      if (position <= last || position >= tokens || seen[position] === 1) {
        throw wrong(
          `list positions below ${tokens} once and in order`,
          `lists ${position} after ${last}`,
        );
      }
      seen[position] = 1;
      last = position;
    }
  }
  if (full.at(-1) !== tokens - 1) {
    throw wrong("keep the newest token", `ends at ${full.at(-1)} of ${counted(tokens, "token")}`);
  }
  if (policy.candidates === "all") return;
  const before = new Set(at.held).add(tokens - 1);
  const returned = full.find((position) => !before.has(position));
  if (returned !== undefined) {
    throw wrong("keep only tokens it holds", `takes token ${returned} back`);
  }
}

/** Where a prompt is pruned. */
interface PrunePlace {
  /** The rule. */
  readonly policy: Pick<Policy, "name">;
  /** The layer. */
  readonly layer: number;
  /** Positions that have reached it. */
  readonly reached: Uint32Array;
}

/**
 * Throws unless a layer keeps some of the tokens that have reached it and passes some of those on, always including the
 * first and the last token of the prompt: every row must see a token, and the last one predicts.
 *
 * @param pruned What was chosen.
 * @param at Where.
 * @throws {RequirementError} If a list is out of order, has other tokens, or lacks one of the two; the message names the layer.
 */
export function checkPruned(pruned: PrunedLayer, { policy, layer, reached }: PrunePlace): void {
  const lists = [["keep", pruned.kept, reached], ["pass on", pruned.next, pruned.kept]] as const;
  for (const [verb, chosen, from] of lists) {
    const allowed = new Set(from);
    const wrong = (requirement: string, current: string) =>
      new RequirementError({
        action: `prune a prompt under ${policy.name}`,
        requirement: `layer ${layer} must ${verb} ${requirement}`,
        state: `list ${current}`,
      });
    let last = -1;
    for (const position of chosen) {
      if (position <= last || !allowed.has(position)) {
        throw wrong("some of the tokens it has, in order", `has ${position} after ${last}`);
      }
      last = position;
    }
    const ends = [reached[0], reached.at(-1)];
    if (ends.some((position) => !chosen.includes(position!))) {
      throw wrong(`the tokens ${ends.join(" and ")}`, `lacks one of them`);
    }
  }
}

/** Counts of all layers, and the budget they are for. */
interface CountsPlace {
  /** The rule. */
  readonly policy: Pick<Policy, "name" | "isUnbounded">;
  /** What may be kept. */
  readonly budget: CacheBudget;
  /** Tokens of the sequence, the newest one included. */
  readonly tokens: number;
}

/**
 * Throws unless the counts of a policy's layers cost no more than its budget on average; the newest token is always
 * allowed.
 *
 * @param layers Counts of each layer.
 * @param at What they were made for.
 * @throws {RequirementError} If they cost more; the message names the layer with the most, its heads and its counts.
 */
export function checkCounts(layers: readonly TierCounts[], at: CountsPlace): void {
  const { policy, budget, tokens } = at;
  if (policy.isUnbounded) return;
  const allowed = Math.max(2, halfEntries(budget, tokens));
  const costs = layers.map(halves);
  const mean = costs.reduce((sum, cost) => sum + cost, 0) / layers.length;
  if (mean <= allowed + 1e-6) return;
  const most = costs.indexOf(Math.max(...costs));
  throw new RequirementError({
    action: `plan under ${policy.name}`,
    requirement: `counts must cost at most ${allowed} half-entries per head, mean over layers, ` +
      `at ${tokens} tokens`,
    state: `mean is ${Number(mean.toFixed(1))}, and each head of layer ${most} would hold ` +
      `${costs[most]} (${countsText(layers[most]!)})`,
  });
}

function halves({ sink, recent, critical, marginal }: TierCounts): number {
  return 2 * (sink + recent + critical) + marginal;
}

function countsText({ sink, recent, critical, marginal }: TierCounts): string {
  return `sink ${sink}, recent ${recent}, critical ${critical}, marginal ${marginal}`;
}
