/**
 * Policies with their choices settled.
 *
 * @module
 */

import { POLICIES } from "./policies/mod.ts";
import type { CacheBudget } from "./budget.ts";
import type { CountRequest, Policy } from "./policy.ts";
import {
  DECAY_ROWS,
  DEFAULT_DECAY,
  type PolicyOptions,
  type ResolvedPolicy,
} from "./policy_choices.ts";
import { checkOptions, outside } from "./policy_rules.ts";

export * from "./policy_choices.ts";

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
 * @throws {RangeError} If a choice is not allowed for it, or would change nothing.
 */
export function resolvePolicy(policy: Policy, options: PolicyOptions = {}): ResolvedPolicy {
  checkOptions(policy, options);
  const chosen = {
    score: "accumulated",
    decay: DEFAULT_DECAY,
    normalise: "none",
    combine: "joint",
    weights: "query_head",
    reduction: "mean",
    ranked: "older",
    change: 0,
    marginal: true,
    split: "demand",
    coverage: "clip",
    sink: 0,
    positions: "original",
    base: "current",
    stale: false,
    heavyRatio: 1,
    minimumTokens: 100,
    ...policy,
    ...policy.defaults,
    ...options,
  } as const;
  const resolved = {
    scoreRows: chosen.score === "accumulated" ? Infinity : DECAY_ROWS,
    ...chosen,
  };
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

/**
 * Gives what a budget is at a length under a policy's base (D-12): a share of the prompt stays what it was.
 *
 * @param base What a share is of.
 * @param request Budget and lengths.
 * @returns The budget as counts take it.
 */
export function basedOn(
  base: ResolvedPolicy["base"],
  { budget, promptTokens }: Pick<CountRequest, "budget" | "promptTokens">,
): CacheBudget {
  return base === "prompt" && "ratio" in budget ? { ...budget, of: promptTokens } : budget;
}

/**
 * Throws unless a policy's base (D-12) says anything about a budget.
 *
 * @param policy The rule.
 * @param budget What may be kept.
 * @throws {RangeError} If the base is the prompt and the budget no share.
 */
export function checkBase({ name, base }: ResolvedPolicy, budget: CacheBudget): void {
  if (base === "current" || "ratio" in budget) return;
  throw new RangeError(
    `Cannot set up policy ${name}: base prompt must go with a share of the cache: current budget is ${budget.tokens} tokens`,
  );
}
