/**
 * Selections of one sequence from step to step, on the host.
 *
 * @module
 */

import type { CacheBudget, TierCounts } from "../cache/budget.ts";
import { planBySaliency, type Selection } from "../cache/policy.ts";
import type { ResolvedPolicy } from "../cache/policy_options.ts";
import type { UnitShape } from "./units.ts";

/** What a sequence is planned for. */
export interface PlannerOptions {
  /** The rule. */
  readonly policy: ResolvedPolicy;
  /** What may be kept. */
  readonly budget: CacheBudget;
  /** How heads are grouped. */
  readonly units: UnitShape;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
}

/** Scores of all units, [units, stride]; a row is long enough for the tokens that are ranked. */
export interface UnitScores {
  /** The scores. */
  readonly values: Float32Array;
  /** Length of a row. */
  readonly stride: number;
}

/** Remembers what is kept of one sequence and chooses anew. */
export class SelectionPlanner {
  readonly #options: PlannerOptions;
  readonly #layers: number;
  #selections: Selection[] = [];
  #plannedTokens = 0;
  #churn = 0;

  /**
   * Starts with nothing kept.
   *
   * @param options What is planned.
   */
  constructor(options: PlannerOptions) {
    this.#options = options;
    this.#layers = options.units.total / options.units.perLayer;
  }

  /** Selections as they are, one per unit. */
  get selections(): readonly Selection[] {
    return this.#selections;
  }

  /** Share of the newest plan's tokens that were not in the selection before, mean over units. */
  get churn(): number {
    return this.#churn;
  }

  /** Keeps every token. */
  keepAll(tokens: number): void {
    const kept = Uint32Array.from({ length: tokens }, (_, token) => token);
    const selection = { kept, marginal: new Uint32Array(0) };
    this.#selections = new Array<Selection>(this.#options.units.total).fill(selection);
    this.#plannedTokens = 0;
  }

  /** Adds the newest token to every selection. */
  append(token: number): void {
    this.#selections = this.#selections.map(({ kept, marginal }) => {
      const longer = new Uint32Array(kept.length + 1);
      longer.set(kept);
      longer[kept.length] = token;
      return { kept: longer, marginal };
    });
  }

  /** Whether the policy chooses anew at a length, or only adds the newest token. */
  isDue(tokens: number): boolean {
    const { policy } = this.#options;
    if (tokens < policy.minimumTokens) return false;
    return this.#plannedTokens < policy.minimumTokens ||
      tokens - this.#plannedTokens >= policy.interval;
  }

  /** Tokens of each tier that a layer keeps at a length. */
  counts(tokens: number, layer: number): TierCounts {
    const { policy, budget, promptTokens } = this.#options;
    return policy.counts({ budget, tokens, promptTokens, layer, layers: this.#layers });
  }

  /**
   * Chooses the tokens of every unit.
   *
   * @param tokens Tokens of the sequence, the newest one included.
   * @param scores Scores of all units.
   */
  plan(tokens: number, scores: UnitScores): void {
    const { policy, units } = this.#options;
    const before = this.#selections;
    this.#selections = Array.from({ length: units.total }, (_, unit) => {
      const first = unit * scores.stride;
      const held = policy.candidates === "kept" ? heldTokens(before[unit], tokens) : undefined;
      return planBySaliency({
        tokens,
        saliency: scores.values.subarray(first, first + tokens),
        ties: policy.ties,
        ...(held && { isOpen: (token: number) => held[token] === 1 }),
      }, this.counts(tokens, Math.floor(unit / units.perLayer)));
    });
    this.#plannedTokens = tokens;
    this.#churn = meanChurn(before, this.#selections);
  }
}

function heldTokens(selection: Selection | undefined, tokens: number): Uint8Array {
  const held = new Uint8Array(tokens);
  for (const token of selection?.kept ?? []) held[token] = 1;
  return held;
}

function meanChurn(before: readonly Selection[], after: readonly Selection[]): number {
  if (before.length === 0) return 0;
  let sum = 0;
  after.forEach(({ kept, marginal }, unit) => {
    const last = Math.max(kept.at(-1) ?? 0, before[unit]!.kept.at(-1) ?? 0);
    const held = new Uint8Array(last + 1);
    for (const token of before[unit]!.kept) held[token] = 1;
    for (const token of before[unit]!.marginal) held[token] = 1;
    let entered = 0;
    for (const token of kept) entered += 1 - held[token]!;
    for (const token of marginal) entered += 1 - held[token]!;
    sum += entered / (kept.length + marginal.length);
  });
  return sum / after.length;
}
