/**
 * Which choices a policy has: an option that would change nothing is an error.
 *
 * @module
 */

import { NORMALISATIONS } from "../analysis/row_means.ts";
import { checkInteger } from "../core/check.ts";
import type { Policy } from "./policy.ts";
import {
  BASES,
  COMBINES,
  COVERAGES,
  GRANULARITIES,
  type PolicyOptions,
  POSITIONS,
  RANKED,
  REDUCTIONS,
  SCORES,
  SPLITS,
  TIES,
  WEIGHTS,
} from "./policy_choices.ts";

/** Name of a choice. */
export type OptionName = keyof PolicyOptions;

/** An option that a policy cannot take. */
export interface Misuse {
  /** The option. */
  readonly option: OptionName;
  /** What would have to hold, and what does: the end of an error message. */
  readonly reason: string;
}

/** Choices of every policy that names no others. */
const COMMON: readonly OptionName[] = ["base", "interval", "minimumTokens"];
/** Choices of policies that rank tokens. */
const RANKING: readonly OptionName[] = ["granularity", "ranked", "ties"];
/** Choices about sums of attention. */
const SUMMING: readonly OptionName[] = ["normalise", "scoreRows"];
/** Choices of policies that ask a helper. */
const HELPER: readonly OptionName[] = [
  ...["score", "decay", "combine", "weights", "reduction", "change", "stale"] as const,
];

/** Options with a list of values. */
const VALUES = {
  score: SCORES,
  combine: COMBINES,
  granularity: GRANULARITIES,
  reduction: REDUCTIONS,
  normalise: NORMALISATIONS,
  ranked: RANKED,
  weights: WEIGHTS,
  ties: TIES,
  split: SPLITS,
  coverage: COVERAGES,
  base: BASES,
  positions: POSITIONS,
  heavyRatio: [1, 2],
  marginal: [true, false, "dropped"],
  stale: [true, false],
} as const satisfies Partial<Record<OptionName, readonly unknown[]>>;

/** Integer options and their smallest values. */
const INTEGERS = { sink: 0, interval: 1, minimumTokens: 1, scoreRows: 1 } as const;

/** Options that are shares: smallest and largest value, both excluded but for a smallest of 0 where `isFrom`. */
const SHARES = { decay: { isFrom: false }, change: { isFrom: true } } as const;

/** Every option there is. */
export const OPTION_NAMES: readonly OptionName[] = [
  ...Object.keys(VALUES),
  ...Object.keys(INTEGERS),
  ...Object.keys(SHARES),
].sort() as OptionName[];

/**
 * Lists the options that a policy can be given.
 *
 * @param policy Any policy.
 * @returns Names, sorted.
 */
export function acceptedOptions(policy: Policy): OptionName[] {
  const ranking = policy.scores === "none"
    ? []
    : RANKING.filter((name) =>
      !(name === "ranked" && policy.plan) && !(name === "granularity" && policy.prune)
    );
  const hasSums = policy.scores === "helper" || policy.scores === "own" && policy.memory === "sum";
  return [
    ...new Set([
      ...policy.accepts ?? COMMON,
      ...ranking,
      ...policy.name === "full" ? [] : ["positions" as const],
      ...hasSums ? SUMMING : [],
      ...policy.scores === "helper" ? HELPER : [],
    ]),
  ].sort();
}

/**
 * Finds options that would change nothing.
 *
 * @param policy Any policy.
 * @param options Choices of allowed values.
 * @returns Options, each with the reason.
 */
export function misusedOptions(policy: Policy, options: PolicyOptions): Misuse[] {
  const accepted = acceptedOptions(policy);
  const given = (Object.keys(options) as OptionName[])
    .filter((name) => options[name] !== undefined);
  return given.flatMap((option) => {
    const reason = accepted.includes(option)
      ? missingChoice(option, policy, options)
      : `options must be some of ${accepted.join(", ") || "none"}: current options have ${option}`;
    return reason === undefined ? [] : [{ option, reason }];
  });
}

/** What an option needs of the others to have any effect. */
function missingChoice(
  option: OptionName,
  policy: Policy,
  options: PolicyOptions,
): string | undefined {
  const chosen = {
    score: "accumulated",
    marginal: true,
    ...policy,
    ...policy.defaults,
    ...options,
  };
  const needs = (holds: boolean, what: string, current: unknown) =>
    holds ? undefined : `${option} must go with ${what}: current value is ${current}`;
  const { score, marginal, granularity, interval } = chosen;
  const isHelper = policy.scores === "helper";
  switch (option) {
    case "decay":
      return needs(score === "decayed", "score decayed", score);
    case "normalise":
      return needs(!isHelper || score === "accumulated", "score accumulated", score);
    case "scoreRows":
      return needs(!isHelper || score !== "row", "score accumulated or decayed", score);
    case "combine":
      return needs(marginal === true, "marginal tokens", "none");
    case "weights":
      if (marginal !== true) return needs(false, "marginal tokens", "none");
      return needs(joinsHeads(granularity), "granularity kv_head or layer", granularity);
    case "reduction":
      return needs(joinsHeads(granularity), "granularity kv_head or layer", granularity);
    case "change":
      return needs(interval > 1, "an interval above 1, after which a plan counts anyway", interval);
    case "granularity": {
      const allowed = isHelper || granularity !== "kv_match";
      return needs(allowed, "a helper if it is kv_match", "a policy without one");
    }
    case "positions": {
      const allowed = chosen.positions === "original" || granularity !== "query_head";
      return needs(allowed, "granularity kv_head, kv_match or layer if it is slot", granularity);
    }
    default:
      return undefined;
  }
}

/** Whether selections join the scores of several matched heads. */
function joinsHeads(granularity: string): boolean {
  return granularity === "kv_head" || granularity === "layer";
}

/**
 * Throws unless every option exists, has a value it may have, and does something under a policy.
 *
 * @param policy Any policy.
 * @param options Choices.
 * @throws {RangeError} If one is not allowed; the message lists what is.
 */
export function checkOptions(policy: Policy, options: PolicyOptions): void {
  checkValues(policy, options);
  const [misuse] = misusedOptions(policy, options);
  if (misuse) throw new RangeError(`Cannot set up policy ${policy.name}: ${misuse.reason}`);
}

function checkValues(policy: Policy, options: PolicyOptions): void {
  for (const name of Object.keys(options)) {
    if (!OPTION_NAMES.includes(name as OptionName)) throw outside("option", OPTION_NAMES, name);
  }
  for (const [name, allowed] of Object.entries(VALUES) as [OptionName, readonly unknown[]][]) {
    const value = options[name];
    if (value !== undefined && !allowed.includes(value)) throw outside(name, allowed, value);
  }
  const action = `set up policy ${policy.name}`;
  for (const [name, min] of Object.entries(INTEGERS) as [keyof typeof INTEGERS, number][]) {
    const value = options[name];
    if (value !== undefined) checkInteger(action, name, { value, min });
  }
  for (const [name, { isFrom }] of Object.entries(SHARES) as [keyof typeof SHARES, never][]) {
    const value = options[name];
    if (value === undefined || (value > 0 || isFrom && value === 0) && value < 1) continue;
    const range = isFrom ? "be at least 0 and below 1" : "lie between 0 and 1, both excluded";
    throw new RangeError(`Cannot ${action}: ${name} must ${range}: current value is ${value}`);
  }
}

/**
 * Makes the error for a value that is none of those there are.
 *
 * @param what What is chosen.
 * @param allowed Values there are.
 * @param value The value.
 * @returns The error, to be thrown.
 */
export function outside(what: string, allowed: readonly unknown[], value: unknown): RangeError {
  return new RangeError(
    `Cannot set up a cache policy: ${what} must be one of ${
      allowed.join(", ")
    }: current value is ${value}`,
  );
}
