/**
 * Choices of the decision table (method section 4) that apply to more than one policy.
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { POLICIES } from "./policies/mod.ts";
import type { CacheBudget } from "./budget.ts";
import type { CountOptions, CountRequest, Granularity, Policy } from "./policy.ts";

/** Ways to join the exact part with marginal attention (D-17, method section 6). */
export const COMBINES = ["joint", "mass_split", "additive", "eq6_est", "joint_nosink"] as const;
/** One of `COMBINES`. */
export type Combine = typeof COMBINES[number];
/** What a helper's head remembers (D-30). */
export const SCORES = ["accumulated", "decayed", "row"] as const;
/** One of `SCORES`. */
export type ScoreMemory = typeof SCORES[number];
/** Values of `granularity` (D-15). */
export const GRANULARITIES = [
  "kv_head",
  "query_head",
  "layer",
  "kv_match",
] as const satisfies readonly Granularity[];
/** Ways to join the scores of the query heads that share a selection (D-15). */
export const REDUCTIONS = ["mean", "sum", "max"] as const;
/** One of `REDUCTIONS`. */
export type Reduction = typeof REDUCTIONS[number];
/** What a share of the cache is a share of (D-12). */
export const BASES = ["current", "prompt"] as const;
/** One of `BASES`. */
export type BudgetBase = typeof BASES[number];

/** Choices; each has the recommended value of the decision table if left out. */
export interface PolicyOptions extends CountOptions {
  /** D-30: what ranks tokens: all rows of the helper so far, the same with old rows fading, or the current row. */
  readonly score?: ScoreMemory;
  /** Factor on older rows at each step with `score: "decayed"`, in (0, 1). */
  readonly decay?: number;
  /** D-17. */
  readonly combine?: Combine;
  /** D-15; the policy's own if left out. */
  readonly granularity?: Granularity;
  /** D-15: how the query heads of a selection join. */
  readonly reduction?: Reduction;
  /** D-12: whether the budget grows with the sequence or is that of the prompt. */
  readonly base?: BudgetBase;
  /** D-13: steps from one selection to the next; the policy's own if left out. */
  readonly interval?: number;
  /** D-14: whether a step uses the selection of the step before, so that transfers overlap. */
  readonly stale?: boolean;
  /** D-4: tokens below which nothing is dropped. */
  readonly minimumTokens?: number;
}

/** A policy with every choice made. */
export interface ResolvedPolicy extends Policy, Required<PolicyOptions> {}

/** Decay of the preset `smallkv_query_aware`. */
export const DEFAULT_DECAY = 0.5;

/**
 * Finds a policy and settles its choices.
 *
 * @param name Name of a policy.
 * @param options Choices that differ from the recommended ones.
 * @returns The policy to run.
 * @throws {RangeError} If there is no such policy or a choice is not allowed; the message lists what is.
 */
export function createPolicy(name: string, options: PolicyOptions = {}): ResolvedPolicy {
  const policy = POLICIES.find((candidate) => candidate.name === name);
  if (!policy) throw outside("policy", POLICIES.map((candidate) => candidate.name), name);
  return resolvePolicy(policy, options);
}

/**
 * Settles the choices of a policy.
 *
 * @param policy Any policy, one's own too.
 * @param options Choices that differ from the recommended ones.
 * @returns The policy to run.
 * @throws {RangeError} If a choice is not allowed for it.
 */
export function resolvePolicy(policy: Policy, options: PolicyOptions = {}): ResolvedPolicy {
  checkOptions(policy, options);
  const resolved = {
    score: "accumulated",
    decay: DEFAULT_DECAY,
    combine: "joint",
    reduction: "mean",
    marginal: true,
    split: "demand",
    sink: 0,
    base: "current",
    stale: false,
    heavyRatio: 1,
    minimumTokens: 100,
    ...policy,
    ...policy.defaults,
    ...options,
  } as const;
  return {
    ...resolved,
    counts: (request) =>
      policy.counts({
        ...request,
        ...resolved,
        budget: basedOn(resolved.base, request),
      }),
  };
}

/** A share of the prompt stays what it was when the sequence grows. */
function basedOn(base: BudgetBase, { budget, promptTokens }: CountRequest): CacheBudget {
  return base === "prompt" && "ratio" in budget ? { ...budget, of: promptTokens } : budget;
}

const CHOICES: readonly (readonly [keyof PolicyOptions, readonly unknown[]])[] = [
  ["score", SCORES],
  ["combine", COMBINES],
  ["granularity", GRANULARITIES],
  ["reduction", REDUCTIONS],
  ["split", ["demand", "plain"]],
  ["base", BASES],
  ["heavyRatio", [1, 2]],
  ["marginal", [true, false]],
  ["stale", [true, false]],
];

function checkOptions(policy: Policy, options: PolicyOptions): void {
  const known = [...CHOICES.map(([name]) => name), "decay", "sink", "interval", "minimumTokens"];
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) throw outside("option", known, name);
  }
  for (const [name, allowed] of CHOICES) {
    const value = options[name];
    if (value !== undefined && !allowed.includes(value)) throw outside(name, allowed, value);
  }
  const { decay = DEFAULT_DECAY } = options;
  if (!(decay > 0 && decay < 1)) {
    throw new RangeError(
      `Cannot set up policy ${policy.name}: decay must lie between 0 and 1, both excluded: current value is ${decay}`,
    );
  }
  for (const [name, min] of [["sink", 0], ["interval", 1], ["minimumTokens", 1]] as const) {
    const value = options[name];
    if (value !== undefined) checkInteger(`set up policy ${policy.name}`, name, { value, min });
  }
  if (policy.scores !== "helper") checkHelperOptions(policy, options);
}

/** Options that only make sense with a helper. */
function checkHelperOptions(policy: Policy, options: PolicyOptions): void {
  const misused = (["score", "decay", "combine", "marginal", "split", "stale"] as const)
    .find((name) => options[name] !== undefined);
  if (misused === undefined && options.granularity !== "kv_match") return;
  throw new RangeError(
    `Cannot set up policy ${policy.name}: ${
      misused ?? "granularity kv_match"
    } must go with a policy that has a helper, such as smallkv: current policy has none`,
  );
}

function outside(what: string, allowed: readonly unknown[], value: unknown): RangeError {
  return new RangeError(
    `Cannot set up a cache policy: ${what} must be one of ${
      allowed.join(", ")
    }: current value is ${value}`,
  );
}
