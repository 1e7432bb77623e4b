/**
 * Options of `generate` that decide what is kept, and their meaning.
 *
 * @module
 */

import type { MatchOptions } from "../../analysis/head_match.ts";
import type { CacheBudget } from "../../cache/budget.ts";
import { POLICIES } from "../../cache/policies/mod.ts";
import {
  BASES,
  COMBINES,
  createPolicy,
  GRANULARITIES,
  type PolicyOptions,
  REDUCTIONS,
  type ResolvedPolicy,
  SCORES,
} from "../../cache/policy_options.ts";
import type { CommandCall, OptionSpec } from "./command.ts";

/** Options of the decision table, as flags. */
export const POLICY_FLAGS: Readonly<Record<string, OptionSpec>> = {
  score: { type: "string", choices: SCORES, text: "what ranks tokens (D-30)" },
  decay: { type: "string", placeholder: "X", text: "factor on older rows with --score decayed" },
  combine: { type: "string", choices: COMBINES, text: "how marginal tokens join (D-17)" },
  granularity: { type: "string", choices: GRANULARITIES, text: "what shares a selection (D-15)" },
  reduction: { type: "string", choices: REDUCTIONS, text: "how its heads join (D-15)" },
  "no-marginal": { type: "boolean", text: "without marginal tokens, at the same cost (D-24)" },
  split: { type: "string", choices: ["demand", "plain"], text: "budgets below 10 % (D-18)" },
  sink: { type: "string", placeholder: "N", text: "first tokens always kept (D-10)" },
  base: { type: "string", choices: BASES, text: "tokens that a share is of (D-12)" },
  interval: { type: "string", placeholder: "N", text: "steps from plan to plan (D-13)" },
  stale: { type: "boolean", text: "plan of the step before, so that transfers overlap (D-14)" },
  "heavy-ratio": { type: "string", choices: ["1", "2"], text: "heavy to recent tokens of h2o" },
  "minimum-tokens": { type: "string", placeholder: "N", text: "shortest text that drops (D-4)" },
};

/** Options of head matching, as flags. */
export const MATCH_FLAGS: Readonly<Record<string, OptionSpec>> = {
  "match-window": { type: "string", placeholder: "N", text: "tokens compared (D-3), 200" },
  "match-top": { type: "string", placeholder: "SHARE", text: "share that is salient (D-5), 0.2" },
  "match-ignore": { type: "string", placeholder: "N", text: "first tokens left out (D-8), 0" },
  "match-by": { type: "string", choices: ["jaccard", "cosine"], text: "what is maximized" },
};

/** Names of all policies. */
export const POLICY_NAMES: readonly string[] = POLICIES.map(({ name }) => name);

const NUMBERS = [
  ["decay", "decay", { min: 0, max: 1 }],
  ["sink", "sink", { min: 0, max: 1 << 20, isInteger: true }],
  ["interval", "interval", { min: 1, max: 1 << 20, isInteger: true }],
  ["heavy-ratio", "heavyRatio", { min: 1, max: 2, isInteger: true }],
  ["minimum-tokens", "minimumTokens", { min: 1, max: 1 << 20, isInteger: true }],
] as const;
const WORDS = ["score", "combine", "granularity", "reduction", "split", "base"] as const;

/**
 * Reads the policies of a command line.
 *
 * Several policies share its options: each takes those that it has, and each option must be one of some policy's.
 *
 * @param call The command line.
 * @param names Names of the policies.
 * @returns Policies with every choice made, in order.
 * @throws {UsageError} If a policy is unknown or an option not allowed; the message lists what is.
 */
export function readPolicies(call: CommandCall, names: readonly string[]): ResolvedPolicy[] {
  const options = readPolicyOptions(call);
  try {
    if (names.length === 1) return [createPolicy(names[0]!, options)];
    const used = new Set<string>();
    const policies = names.map((name) => {
      const own = Object.fromEntries(
        Object.entries(options).filter(([option, value]) => accepts(name, { [option]: value })),
      );
      Object.keys(own).forEach((option) => used.add(option));
      return createPolicy(name, own);
    });
    const [unused] = Object.entries(options).filter(([option]) => !used.has(option));
    // Nobody takes it, so the last policy tells why.
    if (unused) createPolicy(names.at(-1)!, { [unused[0]]: unused[1] });
    return policies;
  } catch (error) {
    if (error instanceof RangeError) call.fail(withoutAction(error.message));
    throw error;
  }
}

/**
 * Reads how heads are matched.
 *
 * @param call The command line.
 * @returns Choices that were made.
 * @throws {UsageError} If a value is not allowed.
 */
export function readMatchOptions(call: CommandCall): MatchOptions {
  const by = call.value("match-by") as MatchOptions["by"];
  const window = { min: 100, max: 1 << 20, isInteger: true };
  const options = {
    ...(call.has("match-window") && { window: call.number("match-window", window) }),
    ...(call.has("match-top") && { topShare: call.number("match-top", { min: 0, max: 1 }) }),
    ...(call.has("match-ignore") &&
      { ignoredTokens: call.number("match-ignore", { ...window, min: 0, max: 90 }) }),
    ...(by && { by }),
  };
  if (options.topShare === 0) call.fail("--match-top must be above 0: current value is 0");
  return options;
}

/**
 * Reads a budget: a share as `0.2` or `20%`, a number of tokens as `256` or `256t`. `1` is the whole cache.
 *
 * @param call The command line.
 * @returns The budget.
 * @throws {UsageError} If it is neither, or would leave nothing.
 */
export function readBudget(call: CommandCall): CacheBudget {
  const text = call.required("budget").trim();
  const [, digits = "", unit] = /^(\d+(?:\.\d+)?|\.\d+)([t%]?)$/.exec(text) ?? [];
  const value = digits === "" ? NaN : Number(digits);
  if (unit === "%" && value > 0 && value <= 100) return { ratio: value / 100 };
  if (unit === "" && value > 0 && value <= 1) return { ratio: value };
  if (unit !== "%" && Number.isSafeInteger(value) && value > 0) return { tokens: value };
  return call.fail(
    `--budget must be a share above 0 and at most 1, as 0.2 or 20%, or a number of tokens, as 256 or 256t: current value is ${text}`,
  );
}

function readPolicyOptions(call: CommandCall): PolicyOptions {
  const options: Record<string, unknown> = {};
  for (const name of WORDS) {
    const value = call.value(name);
    if (value !== undefined) options[name] = value;
  }
  for (const [flag, name, bounds] of NUMBERS) {
    if (call.has(flag)) options[name] = call.number(flag, bounds);
  }
  if (call.has("no-marginal")) options.marginal = false;
  if (call.has("stale")) options.stale = true;
  return options;
}

function accepts(name: string, options: PolicyOptions): boolean {
  try {
    createPolicy(name, options);
    return true;
  } catch (error) {
    if (error instanceof RangeError && POLICY_NAMES.includes(name)) return false;
    throw error;
  }
}

function withoutAction(message: string): string {
  return message.replace(/^Cannot [^:]*: /, "");
}
