/**
 * Options of `generate` that decide what is kept, and their meaning.
 *
 * @module
 */

import { NORMALISATIONS } from "../analysis/row_means.ts";
import type { CacheBudget } from "../cache/budget.ts";
import { POLICIES } from "../cache/policies/mod.ts";
import {
  BASES,
  checkBase,
  COMBINES,
  COVERAGES,
  createPolicy,
  GRANULARITIES,
  type PolicyOptions,
  POSITIONS,
  RANKED,
  REDUCTIONS,
  type ResolvedPolicy,
  SCORES,
  SPLITS,
  TIES,
  WEIGHTS,
} from "../cache/policy_options.ts";
import { misusedOptions, type OptionName } from "../cache/policy_rules.ts";
import type { DraftOptions } from "../decoding/text/setup.ts";
import type { HelperCut } from "../decoding/scoring/small_model.ts";
import { checkSpeculation } from "../decoding/engine/checks.ts";
import {
  BLOCK_SELECTIONS,
  type BlockSelection,
  MAX_DRAFT_TOKENS,
} from "../decoding/engine/speculative_types.ts";
import type { CommandCall, OptionSpec } from "./command.ts";
import { readMatchOptions } from "./generate_matching.ts";
import type { StoreKind } from "../cache/kv_store.ts";

/** Options of the decision table, as flags. */
export const POLICY_FLAGS: Readonly<Record<string, OptionSpec>> = {
  score: { type: "string", choices: SCORES, text: "what ranks tokens (D-30)" },
  decay: { type: "string", placeholder: "X", text: "factor on older rows with --score decayed" },
  normalise: { type: "string", choices: NORMALISATIONS, text: "divisor of sums (D-1)" },
  "score-rows": { type: "string", placeholder: "N", text: "prompt rows in sums (D-2), all" },
  combine: { type: "string", choices: COMBINES, text: "how marginal tokens join (D-17)" },
  weights: { type: "string", choices: WEIGHTS, text: "heads that weigh marginal tokens (D-16)" },
  granularity: { type: "string", choices: GRANULARITIES, text: "what shares a selection (D-15)" },
  reduction: { type: "string", choices: REDUCTIONS, text: "how its heads join (D-15)" },
  "no-marginal": { type: "boolean", text: "without marginal tokens, at the same cost (D-24)" },
  "drop-marginal": { type: "boolean", text: "without marginal tokens, at less cost (D-24)" },
  split: { type: "string", choices: SPLITS, text: "budgets below 10 % (D-18)" },
  coverage: { type: "string", choices: COVERAGES, text: "budgets above 80 % (D-19)" },
  sink: { type: "string", placeholder: "N", text: "first tokens always kept (D-10)" },
  ranked: { type: "string", choices: RANKED, text: "tokens that ranks run over (D-11)" },
  ties: { type: "string", choices: TIES, text: "which of equal tokens is kept (D-7)" },
  positions: { type: "string", choices: POSITIONS, text: "where kept tokens stand (D-21)" },
  base: { type: "string", choices: BASES, text: "tokens that a share is of (D-12)" },
  interval: { type: "string", placeholder: "N", text: "steps from plan to plan (D-13)" },
  change: { type: "string", placeholder: "X", text: "share that ends an interval early (D-13)" },
  stale: { type: "boolean", text: "plan of the step before, so that transfers overlap (D-14)" },
  "heavy-ratio": { type: "string", choices: ["1", "2"], text: "heavy to recent tokens" },
  "minimum-tokens": { type: "string", placeholder: "N", text: "shortest text that drops (D-4)" },
};

/** Options that make the small model cheaper, as flags. */
export const HELPER_FLAGS: Readonly<Record<string, OptionSpec>> = {
  "helper-budget": {
    type: "string",
    placeholder: "SHARE|TOKENS",
    text: "what the small model keeps of its own cache, by h2o; all if left out",
  },
  "helper-layers": {
    type: "string",
    placeholder: "N",
    text: "first layers of the small model that run; all if left out",
  },
};

/** Options of drafts, as flags. */
export const DRAFT_FLAGS: Readonly<Record<string, OptionSpec>> = {
  speculate: { type: "string", placeholder: "N", text: "tokens that the small model drafts" },
  block: { type: "string", choices: BLOCK_SELECTIONS, text: "what checked drafts attend to" },
};

/** Names of all policies. */
export const POLICY_NAMES: readonly string[] = POLICIES.map(({ name }) => name);

const NUMBERS = [
  ["decay", "decay", { min: 0, max: 1 }],
  ["sink", "sink", { min: 0, max: 1 << 20, isInteger: true }],
  ["interval", "interval", { min: 1, max: 1 << 20, isInteger: true }],
  ["heavy-ratio", "heavyRatio", { min: 1, max: 2, isInteger: true }],
  ["minimum-tokens", "minimumTokens", { min: 1, max: 1 << 20, isInteger: true }],
  ["score-rows", "scoreRows", { min: 1, max: 1 << 20, isInteger: true }],
  ["change", "change", { min: 0, max: 1 }],
] as const;
const WORDS = [
  ...["score", "normalise", "combine", "weights", "granularity", "reduction", "split"] as const,
  ...["coverage", "ranked", "ties", "base", "positions"] as const,
];

/**
 * Reads the policies of a command line.
 *
 * Several policies share its options: each takes those that it has, and each option must be one of some policy's.
 *
 * @param call The command line.
 * @param names Names of the policies.
 * @param budget What may be kept.
 * @returns Policies with every choice made, in order.
 * @throws {UsageError} If a policy is unknown or an option not allowed; the message lists what is.
 */
export function readPolicies(
  call: CommandCall,
  names: readonly string[],
  budget: CacheBudget,
): ResolvedPolicy[] {
  const options = readPolicyOptions(call);
  try {
    const policies = names.length === 1
      ? [createPolicy(names[0]!, options)]
      : sharedOptions(names, options).map((own, index) => createPolicy(names[index]!, own));
    policies.forEach((policy) => checkBase(policy, budget));
    return policies;
  } catch (error) {
    if (error instanceof RangeError) call.fail(withoutAction(error.message));
    throw error;
  }
}

/** For each policy the options that it has. */
function sharedOptions(names: readonly string[], options: PolicyOptions): PolicyOptions[] {
  const misused = names.map((name) => {
    const policy = POLICIES.find((candidate) => candidate.name === name);
    return policy ? misusedOptions(policy, options) : [];
  });
  for (const option of Object.keys(options) as OptionName[]) {
    const reasons = misused.map((own) => own.find((misuse) => misuse.option === option)?.reason);
    if (reasons.includes(undefined)) continue;
    // Nobody takes it; a policy that has the option tells best what is missing.
    const reason = reasons.find((text) => text!.startsWith(option)) ?? reasons.at(-1);
    throw new RangeError(`Cannot set up policy ${names.join(", ")}: ${reason}`);
  }
  return misused.map((own) => {
    const left = { ...options };
    for (const { option } of own) delete left[option];
    return left;
  });
}

/**
 * Reads whether the small model drafts.
 *
 * @param call The command line.
 * @param policies Policies of the command line; those with a helper draft.
 * @returns Choices that were made.
 * @throws {UsageError} If drafts do not go with another choice; the message lists what does.
 */
export function readDrafts(
  call: CommandCall,
  policies: readonly ResolvedPolicy[],
): DraftOptions {
  const block = call.value("block") as BlockSelection | undefined;
  if (!call.has("speculate")) {
    if (block) call.fail(`--block must come with --speculate: current value is ${block} alone`);
    return {};
  }
  if (call.has("reference-tokens")) {
    call.fail("--speculate and --reference-tokens exclude each other: current value is both");
  }
  const bounds = { min: 0, max: MAX_DRAFT_TOKENS, isInteger: true };
  const draftTokens = call.number("speculate", bounds);
  const drafting = policies.filter(({ scores }) => scores === "helper");
  try {
    for (const policy of drafting.length > 0 ? drafting : policies) {
      const cut = readHelperCut(call, policies);
      const match = readMatchOptions(call, policies);
      checkSpeculation(policy, {
        draftTokens,
        store: call.required("store") as StoreKind,
        match,
        ...cut,
      });
    }
  } catch (error) {
    if (error instanceof RangeError) call.fail(`--speculate: ${withoutAction(error.message)}`);
    throw error;
  }
  return { speculative: draftTokens, ...(block && { block }) };
}

/**
 * Reads how the small model is made cheaper.
 *
 * @param call The command line.
 * @param policies What is run.
 * @returns Choices that were made; nothing for the whole small model.
 * @throws {UsageError} If no policy has a helper, or a value would leave nothing of it.
 */
export function readHelperCut(call: CommandCall, policies: readonly ResolvedPolicy[]): HelperCut {
  const flag = Object.keys(HELPER_FLAGS).find((name) => call.has(name));
  if (flag !== undefined && policies.every(({ scores }) => scores !== "helper")) {
    call.fail(
      `--${flag} must go with a policy that has a helper, such as smallkv: current value is ${
        policies.map(({ name }) => name).join(", ")
      }`,
    );
  }
  return {
    ...(call.has("helper-budget") && { helperBudget: readBudget(call, "helper-budget") }),
    ...(call.has("helper-layers") &&
      { helperLayers: call.number("helper-layers", { min: 1, max: 1 << 10, isInteger: true }) }),
  };
}

/**
 * Reads a budget: a share as `0.2` or `20%`, a number of tokens as `256` or `256t`. `1` is the whole cache.
 *
 * @param call The command line.
 * @param flag The option that holds it; `budget` if left out.
 * @returns The budget.
 * @throws {UsageError} If it is neither, or would leave nothing.
 */
export function readBudget(call: CommandCall, flag = "budget"): CacheBudget {
  const text = call.required(flag).trim();
  const [, digits = "", unit] = /^(\d+(?:\.\d+)?|\.\d+)([t%]?)$/.exec(text) ?? [];
  const value = digits === "" ? NaN : Number(digits);
  if (unit === "%" && value > 0 && value <= 100) return { ratio: value / 100 };
  if (unit === "" && value > 0 && value <= 1) return { ratio: value };
  if (unit !== "%" && Number.isSafeInteger(value) && value > 0) return { tokens: value };
  return call.fail(
    `--${flag} must be a share above 0 and at most 1, as 0.2 or 20%, or a number of tokens, as 256 or 256t: current value is ${text}`,
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
  if (call.has("no-marginal") && call.has("drop-marginal")) {
    call.fail("--no-marginal and --drop-marginal exclude each other: current value is both");
  }
  if (call.has("no-marginal")) options.marginal = false;
  if (call.has("drop-marginal")) options.marginal = "dropped";
  if (call.has("stale")) options.stale = true;
  return options;
}

/**
 * Takes "Cannot ...: " from a message, for one that names an option instead.
 *
 * @param message Message of an error.
 * @returns Requirement and current value.
 */
export function withoutAction(message: string): string {
  return message.replace(/^Cannot [^:]*: /, "");
}
