/**
 * Policies with all choices made and checked.
 *
 * @module
 */

import { RequirementError } from "../core/check.ts";
import type { CacheBudget, CountRequest, LayerWindows } from "./budget.ts";
import { type KeyIndex, withoutIndex } from "./key_index.ts";
import { checkChoice, type Choice, ChoiceError, type Need } from "./choice.ts";
import {
  DECAY_ROWS,
  OPTION_NAMES,
  type OptionName,
  POLICY_CHOICES,
  type PolicyOptions,
} from "./options.ts";
import { POLICIES } from "./policies/mod.ts";
import type { Policy } from "./policy.ts";
import { decayed, lastRow, sum } from "./scores/fading_sum.ts";
import type { Score } from "./scores/score.ts";

export * from "./options.ts";

/** A policy with every choice made; `score` follows from the policy and its choices. */
export interface ResolvedPolicy
  extends Omit<Policy, "score" | "index">, Required<Omit<PolicyOptions, "score">> {
  /** How tokens are scored; absent if they are not. */
  readonly score?: Score;
  /** What the device keeps of every key; absent unless tokens are ranked within each layer. */
  readonly index?: KeyIndex;
  /** Windows of the model's layers, once the policy is adapted to them; see `withWindows`. */
  readonly windows?: LayerWindows;
}

/** An option that would change nothing. */
interface Misuse {
  /** The option. */
  readonly option: OptionName;
  /** Whether the policy accepts the option, so that another choice makes it useless. */
  readonly isAccepted: boolean;
  /** The reason, to be thrown unless the option is ignored. */
  readonly error: ChoiceError;
}

/** Choices of every policy that lists no others. */
const COMMON: readonly OptionName[] = ["base", "interval", "minimumTokens"];

/** Recommended values of all choices that policies do not make themselves. */
const USUAL = Object.fromEntries(
  Object.entries<Choice>(POLICY_CHOICES)
    .filter(([name, { usual }]) => usual !== undefined && name !== "scoreRows")
    .map(([name, { usual }]) => [name, usual]),
) as Omit<Required<PolicyOptions>, "scoreRows" | "granularity" | "ties" | "interval">;

/**
 * Finds a policy and makes its choices.
 *
 * @param name Name of a policy.
 * @param options Choices that differ from the recommended ones.
 * @returns The policy to run.
 * @throws {RequirementError} If there is no such policy or a choice is not allowed; the message lists what is.
 */
export function createPolicy(name: string, options: PolicyOptions = {}): ResolvedPolicy {
  return resolvePolicy(findPolicy(name), options);
}

/**
 * Finds a policy.
 *
 * @param name Its name.
 * @returns The policy.
 * @throws {ChoiceError} If there is no such policy; the message lists them.
 */
export function findPolicy(name: string): Policy {
  const values = POLICIES.map((policy) => policy.name);
  checkChoice("policy", { help: "", values }, name, "set up a cache policy");
  return POLICIES.find((policy) => policy.name === name)!;
}

/**
 * Makes the choices of a policy.
 *
 * @param policy Any policy, including your own.
 * @param options Choices that differ from the recommended ones.
 * @returns The policy to run.
 * @throws {ChoiceError} If a choice is not allowed for it, or would change nothing.
 */
export function resolvePolicy(policy: Policy, options: PolicyOptions = {}): ResolvedPolicy {
  for (const name of givenOptions(options)) {
    const [action, values] = ["set up a cache policy", OPTION_NAMES];
    checkChoice("option", { help: "", values }, name, action);
    const choice: Choice = POLICY_CHOICES[name];
    checkChoice(name, choice, options[name], choice.values ? action : setUp(policy));
  }
  const [misuse] = misusedOptions(policy, options);
  if (misuse) throw misuse.error;
  const { score: _, index, ...chosen } = chosenOptions(policy, options);
  const score = scoreOf(policy, options);
  const resolved = {
    ...chosen,
    ...(score && { score }),
    ...(index && { index: typeof index === "function" ? index(chosen) : index }),
    scoreRows: chosen.scoreRows ?? ((score?.decay ?? 1) < 1 ? DECAY_ROWS : Infinity),
  };
  return {
    ...resolved,
    counts(request) {
      const { base, index, charge } = resolved;
      const granted = basedOn(base, request);
      const budget = index && charge === "total" ? withoutIndex(index, granted, request) : granted;
      return policy.counts({ ...request, ...resolved, budget });
    },
  };
}

function chosenOptions({ score: _, ...policy }: Policy, options: PolicyOptions) {
  return { ...USUAL, ...policy, ...policy.defaults, ...options };
}

/**
 * Default of an option in words: the usual value, and those of policies that have one of their own.
 *
 * @returns As in "0, but 4 under streaming"; nothing where the usual value is each policy's.
 */
export function usualText(name: OptionName): string | undefined {
  const { usual }: Choice = POLICY_CHOICES[name];
  if (usual === undefined) return undefined;
  const own = POLICIES.filter(({ defaults = {} }) => name in defaults);
  const values = Map.groupBy(own, ({ defaults }) => String(defaults![name]));
  const others = [...values].map(([value, policies]) =>
    `${value} under ${policies.map((policy) => policy.name).join(", ")}`
  );
  return [String(usual), ...others].join(", but ");
}

/** The score that follows from a policy and its choices. */
function scoreOf(policy: Policy, options: PolicyOptions): Score | undefined {
  const chosen = chosenOptions(policy, options);
  if (typeof policy.score === "function") return policy.score(chosen);
  if (policy.score || policy.index || policy.saliencySource === "none") return policy.score;
  if (chosen.score === "accumulated") return sum();
  return chosen.score === "row" ? lastRow() : decayed({ decay: chosen.decay });
}

function givenOptions(options: PolicyOptions): OptionName[] {
  const names = Object.keys(options) as OptionName[];
  return names.filter((name) => options[name] !== undefined);
}

function setUp({ name }: Policy): string {
  return `set up policy ${name}`;
}

/**
 * Lists the options that a policy can be given.
 *
 * @param policy Any policy.
 * @returns Names, sorted.
 */
export function acceptedOptions(policy: Policy): OptionName[] {
  const { saliencySource, score, accepts = COMMON } = policy;
  const isSmall = saliencySource === "small";
  const hasSums = typeof score === "object" ? score.reads === "sums" : isSmall;
  const has = {
    counts: () => false,
    ranking: (name) =>
      saliencySource !== "none" && !(name === "ranked" && policy.plan) &&
      !(name === "granularity" && policy.prune),
    dropping: (name) => policy.name !== "full" && !(name === "windowed" && policy.prune),
    sums: () => hasSums,
    // A policy that brings its own score leaves nothing to choose.
    small: (name) => isSmall && !(score && (name === "score" || name === "decay")),
    // Layers of a pruned prompt lack the values of tokens that have not reached them.
    masses: () => (isSmall || hasSums || policy.index !== undefined) && !policy.prune,
  } satisfies Record<string, (name: OptionName) => unknown>;
  return OPTION_NAMES.filter((name) =>
    accepts.includes(name) || has[POLICY_CHOICES[name].holders](name)
  );
}

/**
 * Finds options that would change nothing.
 *
 * @param policy Any policy.
 * @param options Choices with allowed values.
 * @returns Options, each with the reason.
 */
export function misusedOptions(policy: Policy, options: PolicyOptions): Misuse[] {
  const accepted = acceptedOptions(policy);
  return givenOptions(options).flatMap((option) => {
    const isAccepted = accepted.includes(option);
    const wrong = isAccepted ? missingChoice(option, policy, options) : {
      requirement: `options must be some of ${accepted.join(", ") || "none"}`,
      state: `options have ${option}`,
    };
    if (!wrong) return [];
    return [{
      option,
      isAccepted,
      error: new ChoiceError(option, { action: setUp(policy), ...wrong }),
    }];
  });
}

/** The first requirement of an option that other choices do not meet, if any. */
function missingChoice(option: OptionName, policy: Policy, options: PolicyOptions) {
  const chosen: Readonly<Record<string, unknown>> = { ...chosenOptions(policy, options) };
  const { needs = [] }: Choice = POLICY_CHOICES[option];
  const isMet = ({ choice, values, above, ...need }: Need): boolean =>
    need.isSmallOnly && (policy.saliencySource !== "small" || policy.score !== undefined) ||
    need.unless !== undefined && need.unless.value === chosen[need.unless.choice] ||
    need.if !== undefined && need.if !== chosen[option] ||
    (values ? values.includes(chosen[choice]) : Number(chosen[choice]) > above!);
  const unmet = needs.find((need) => !isMet(need));
  return unmet && {
    requirement: `${option} must go with ${unmet.text}`,
    current: unmet.otherwise ?? chosen[unmet.choice],
  };
}

/**
 * Applies a policy's base (D-12) to a budget: a share of the prompt stays the same at every length.
 *
 * @param base What a share refers to.
 * @param request Budget and lengths.
 * @returns The budget for the policy's counts.
 */
export function basedOn(
  base: ResolvedPolicy["base"],
  { budget, promptTokens }: Pick<CountRequest, "budget" | "promptTokens">,
): CacheBudget {
  return base === "prompt" && "ratio" in budget ? { ...budget, of: promptTokens } : budget;
}

/**
 * Throws unless a policy's base (D-12) applies to a budget.
 *
 * @param policy The rule.
 * @param budget What may be kept.
 * @throws {RequirementError} If the base is the prompt and the budget is not a share.
 */
export function checkBase({ name, base }: ResolvedPolicy, budget: CacheBudget): void {
  if (base === "current" || "ratio" in budget) return;
  throw new RequirementError({
    action: `set up policy ${name}`,
    requirement: "base prompt must go with a share of the cache",
    state: `budget is ${budget.tokens} tokens`,
  });
}
