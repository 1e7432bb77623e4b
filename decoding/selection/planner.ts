/**
 * Selections of one sequence from step to step, on the host.
 *
 * @module
 */

import type { CacheBudget, TierCounts } from "../../cache/budget.ts";
import { checkCounts, checkPlan } from "../../cache/plan_check.ts";
import {
  type CountRequest,
  planBySaliency,
  planOverAll,
  type Selection,
} from "../../cache/policy.ts";
import { basedOn, type ResolvedPolicy } from "../../cache/policy_options.ts";
import { perRow } from "../../analysis/row_means.ts";
import type { UnitShape } from "./head_groups.ts";

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
  /** First query whose attention is in the scores; 0 if left out. */
  readonly firstRow?: number;
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

  /**
   * Copies the state, so that steps can be tried.
   *
   * @returns A planner that goes on from here on its own.
   */
  fork(): SelectionPlanner {
    const copy = new SelectionPlanner(this.#options);
    copy.#selections = this.#selections;
    copy.#plannedTokens = this.#plannedTokens;
    copy.#churn = this.#churn;
    return copy;
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
    this.keep(new Array<Uint32Array>(this.#options.units.total).fill(kept));
  }

  /** Keeps given tokens, ascending, of each unit. */
  keep(kept: readonly Uint32Array[]): void {
    const marginal = new Uint32Array(0);
    this.#selections = kept.map((positions) => ({ kept: positions, marginal }));
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
    if (policy.due) return policy.due(this.#request(tokens, 0));
    return this.#plannedTokens < policy.minimumTokens || policy.change > 0 ||
      this.#hasWaited(tokens);
  }

  /** Tokens of each tier that a layer keeps at a length. */
  counts(tokens: number, layer: number): TierCounts {
    return this.#options.policy.counts(this.#request(tokens, layer));
  }

  /** Newest rows of attention that a layer ranks by at a length, where a policy looks at a window of them. */
  rows(tokens: number, layer: number): number {
    const { policy } = this.#options;
    const request = this.#request(tokens, layer);
    const budget = basedOn(policy.base, request);
    return policy.promptRows?.({ ...request, budget }) ?? this.counts(tokens, layer).recent;
  }

  /**
   * Counts what every layer keeps at a length.
   *
   * @param tokens Tokens of the sequence, the newest one included.
   * @returns Tokens of each tier, [layers].
   * @throws {RangeError} If the policy breaks its budget.
   */
  tiers(tokens: number): TierCounts[] {
    const { policy, budget, promptTokens } = this.#options;
    const layers = Array.from({ length: this.#layers }, (_, layer) => this.counts(tokens, layer));
    const granted = basedOn(policy.base, { budget, promptTokens });
    checkCounts(layers, { policy, budget: granted, tokens });
    return layers;
  }

  /**
   * Takes over what was chosen elsewhere.
   *
   * @param selections Tokens of each unit.
   * @param isPlan Whether they were ranked; if not, all tokens are kept and churn stays what it was.
   */
  take(selections: readonly Selection[], isPlan: boolean): void {
    if (isPlan) this.#churn = meanChurn(this.#selections, selections);
    this.#selections = [...selections];
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
    const layers = this.tiers(tokens);
    const after = Array.from({ length: units.total }, (_, unit) => {
      const first = unit * scores.stride;
      const raw = scores.values.subarray(first, first + tokens);
      const saliency = policy.normalise === "rows" ? perRow(raw, scores.firstRow) : raw;
      const counts = layers[Math.floor(unit / units.perLayer)]!;
      return this.#choose({ unit, tokens, saliency }, counts);
    });
    const isKept = policy.change > 0 && before.length > 0 && !this.#hasWaited(tokens) &&
      meanChange(before, after) <= policy.change;
    this.#churn = isKept ? 0 : meanChurn(before, after);
    if (isKept) return this.append(tokens - 1);
    this.#selections = after;
    this.#plannedTokens = tokens;
  }

  #request(tokens: number, layer: number): CountRequest {
    const { policy, budget, promptTokens } = this.#options;
    return { ...policy, budget, tokens, promptTokens, layer, layers: this.#layers };
  }

  /** Whether the newest plan is an interval old. */
  #hasWaited(tokens: number): boolean {
    return tokens - this.#plannedTokens >= this.#options.policy.interval;
  }

  #choose(
    { unit, tokens, saliency }: {
      readonly unit: number;
      readonly tokens: number;
      readonly saliency: Float32Array;
    },
    counts: TierCounts,
  ): Selection {
    const { policy, budget, promptTokens, units } = this.#options;
    const held = this.#selections[unit]?.kept ?? new Uint32Array(0);
    const isHeld = policy.candidates === "kept" ? tokenFlags(held, tokens) : undefined;
    const view = {
      tokens,
      saliency,
      ties: policy.ties,
      ...(isHeld && { isOpen: (token: number) => isHeld[token] === 1 }),
    };
    if (!policy.plan) {
      const left = isHeld ? withoutLostSinks(counts, isHeld) : counts;
      return policy.ranked === "all" ? planOverAll(view, left) : planBySaliency(view, left);
    }
    const layer = Math.floor(unit / units.perLayer);
    const { minimumTokens } = policy;
    const place = { budget, promptTokens, layer, layers: this.#layers, minimumTokens };
    const selection = policy.plan({ ...view, ...place, held }, counts);
    checkPlan(selection, { policy, tokens, counts, held, place: placeOf(unit, this.#options) });
    return selection;
  }
}

/** A sink that a smaller budget dropped for good cannot return: its place goes to the ranked tokens. */
function withoutLostSinks(counts: TierCounts, isHeld: Uint8Array): TierCounts {
  const firstLost = isHeld.indexOf(0);
  const sink = firstLost < 0 ? counts.sink : Math.min(counts.sink, firstLost);
  return { ...counts, sink, critical: counts.critical + counts.sink - sink };
}

/** Layer and head of a unit, in words. */
function placeOf(unit: number, { units, policy }: PlannerOptions): string {
  const layer = `layer ${Math.floor(unit / units.perLayer)}`;
  if (policy.granularity === "layer") return layer;
  const heads = policy.granularity === "query_head" ? "query head" : "KV head";
  return `${layer}, ${heads} ${unit % units.perLayer}`;
}

function tokenFlags(held: Uint32Array, tokens: number): Uint8Array {
  const flags = new Uint8Array(tokens);
  for (const token of held) flags[token] = 1;
  return flags;
}

/** Share of the larger of two selections that is not in both, mean over units. */
function meanChange(before: readonly Selection[], after: readonly Selection[]): number {
  let sum = 0;
  after.forEach((selection, unit) => {
    const earlier = before[unit]!;
    const shared = sharedTokens(earlier.kept, selection.kept) +
      sharedTokens(earlier.marginal, selection.marginal);
    const size = ({ kept, marginal }: Selection) => kept.length + marginal.length;
    sum += 1 - shared / Math.max(1, size(earlier), size(selection));
  });
  return sum / after.length;
}

/** Tokens that two ascending lists share. */
function sharedTokens(first: Uint32Array, second: Uint32Array): number {
  let [shared, index] = [0, 0];
  for (const token of first) {
    while (index < second.length && second[index]! < token) index++;
    if (second[index] === token) shared++;
  }
  return shared;
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
