/**
 * What a command line of `generate` asks for, before any model is opened.
 *
 * @module
 */

import type { CacheBits } from "../cache/full_cache.ts";
import type { CacheBudget } from "../cache/budget.ts";
import type { StoreKind } from "../cache/kv_store.ts";
import { type Choice, flagOf } from "../cache/choice.ts";
import { FIT_CHOICES, MATCH_CHOICES, POLICY_CHOICES, RUN_CHOICES } from "../cache/options.ts";
import { POLICIES } from "../cache/policies/mod.ts";
import type { Policy } from "../cache/policy.ts";
import {
  acceptedOptions,
  checkBase,
  findPolicy,
  misusedOptions,
  type OptionName,
  type PolicyOptions,
  type ResolvedPolicy,
  resolvePolicy,
  usualText,
} from "../cache/policy_options.ts";
import { checkAhead, checkSpeculation, checkTurnBlock } from "../decoding/engine/checks.ts";
import type { BlockSelection } from "../decoding/engine/speculative_types.ts";
import type { PairMatchOptions } from "../decoding/scoring/head_matching.ts";
import { checkFit } from "../decoding/scoring/map_fitting.ts";
import { checkSampling, type SamplingOptions } from "../decoding/text/sampling.ts";
import type { DraftOptions } from "../decoding/text/setup.ts";
import {
  apiNamesOf,
  choiceFlags,
  readBudget,
  readChoices,
  readMatching,
  typedChoice,
  usageOf,
} from "./choice_flags.ts";
import { type CommandCall, type OptionSpec, valueOption } from "./command.ts";
import { parseFittedMap } from "./fitted_map_file.ts";
import { checkPromptFlags } from "./generate_prompt.ts";
import type { RunSettings } from "./generate_run.ts";
import { fileFault, readJsonFile } from "./token_input.ts";

/** Flags of every choice: of policies, of head matching, and of a run. */
export const SETTING_FLAGS: Readonly<Record<string, OptionSpec>> = {
  ...choiceFlags(POLICY_CHOICES, "", (name) => usualText(name as OptionName)),
  ...choiceFlags(MATCH_CHOICES, "match-"),
  ...choiceFlags(RUN_CHOICES),
};

/** Options by the names that errors of the library use. */
export const API_NAMES: Readonly<Record<string, string>> = {
  ...apiNamesOf(MATCH_CHOICES, "match-"),
  topTokens: "match-top",
  topShare: "match-top",
  ...apiNamesOf(POLICY_CHOICES),
  ...apiNamesOf(RUN_CHOICES),
  draftTokens: "speculate",
  ahead: "ahead",
  maxNewTokens: "max-new",
  topP: "top-p",
  topK: "top-k",
  temperature: "temperature",
};

/** Options of draws, any of which makes tokens be drawn. */
export const SAMPLING_FLAGS: Readonly<Record<string, OptionSpec>> = {
  temperature: valueOption("X", "draws tokens, from logits divided by X; 0 takes the likeliest"),
  "top-p": valueOption("X", "draws from the likeliest tokens whose probability exceeds X"),
  "top-k": valueOption("N", "draws from the N likeliest tokens"),
};

/** Names of all policies. */
export const POLICY_NAMES: readonly string[] = POLICIES.map(({ name }) => name);

const { matchMap, rematch, smallBudget, smallLayers, smallCacheBits, smallTokens } = RUN_CHOICES;

/** Flags that only change policies with a small model. */
const SMALL_FLAGS = [
  "small",
  ...Object.entries<Choice>(MATCH_CHOICES).map(([name, choice]) => `match-${flagOf(name, choice)}`),
  ...Object.entries<Choice>({
    ...FIT_CHOICES,
    ...{ matchMap, rematch, smallBudget, smallLayers, smallCacheBits, smallTokens },
  })
    .map(([name, choice]) => flagOf(name, choice)),
];

/** Choices of `FIT_CHOICES`. */
type FitChoices = { readonly [Name in keyof typeof FIT_CHOICES]?: number };

/** What a command line asks for. */
export interface GenerateRequest extends
  Pick<
    RunSettings,
    | "budget"
    | "cut"
    | "store"
    | "match"
    | "drafts"
    | "sampling"
    | "ahead"
    | "tracedSteps"
    | "ignoresEnd"
  > {
  /** Policies with every choice made, in order. */
  readonly policies: readonly ResolvedPolicy[];
  /** Most new tokens, if a number is named. */
  readonly newTokens?: number;
  /** Whether the small model reads the text in tokens of its own. */
  readonly hasOwnTokens: boolean;
  /** Tokens of a further turn that run at once, if a number is named. */
  readonly turnBlock?: number;
}

/** Choices of `RUN_CHOICES` that are words or numbers. */
interface RunChoices extends FitChoices {
  readonly rematch?: number;
  readonly smallLayers?: number;
  readonly smallCacheBits?: CacheBits;
  readonly smallTokens?: "large" | "own";
  readonly store?: StoreKind;
  readonly speculate?: number;
  readonly block?: BlockSelection;
  readonly turnBlock?: number;
}

/**
 * Reads a command line.
 *
 * @returns What it asks for.
 * @throws {UsageError} If a value is not allowed, changes nothing or does not go with another one.
 */
export function readRequest(call: CommandCall): GenerateRequest {
  checkPromptFlags(call);
  const names = call.has("compare") ? readNames(call) : [call.required("policy")];
  const budget = readBudget(call, "budget");
  refuseBudget(call, names, budget);
  const sampling = readSampling(call);
  const policies = readPolicies(call, names, { budget, sampling });
  const hasSmall = policies.some(({ saliencySource }) => saliencySource === "small");
  checkModels(call, hasSmall);
  if (!hasSmall) refuseSmallFlags(call, names);
  const { rematch, smallLayers, smallCacheBits, smallTokens, ...made }: RunChoices = readChoices(
    call,
    RUN_CHOICES,
  );
  const { store = "resident" } = made;
  const fit: FitChoices = readChoices(call, FIT_CHOICES);
  const cut = {
    ...(call.has("small-budget") && { smallBudget: readBudget(call, "small-budget") }),
    ...(smallLayers !== undefined && { smallLayers }),
    ...(smallCacheBits !== undefined && { smallCacheBits }),
  };
  const matching = SMALL_FLAGS.find((flag) =>
    /^(match-|fit-|rematch)/.test(flag) && flag !== "match-map" && call.has(flag)
  );
  if (call.has("ignore-end") && call.has("reference-tokens")) {
    call.exclude("ignore-end", "reference-tokens");
  }
  if (call.has("match-map") && matching) call.exclude("match-map", matching);
  if (call.has("match-top") && call.value("match-by") === "cosine") {
    call.fail("--match-top must go with --match-by jaccard: current value is cosine");
  }
  const match = {
    ...readMatching(call, "match-"),
    ...fit,
    ...(rematch !== undefined && { rematch }),
  };
  usageOf(call, () => checkFit(match, policies));
  const hasOwnTokens = smallTokens === "own";
  if (hasOwnTokens) {
    for (const other of ["small-budget", "speculate"]) {
      if (call.has(other)) call.exclude(other, "small-tokens");
    }
  }
  const request = { policies, budget, cut, store, match };
  return {
    ...request,
    hasOwnTokens,
    drafts: readDrafts(call, request, made),
    ...(sampling && { sampling }),
    ...readAhead(call, request),
    ...readTurnBlock(call, request, made),
    tracedSteps: readSteps(call),
    ignoresEnd: call.has("ignore-end"),
    ...(call.has("max-new") &&
      { newTokens: call.number("max-new", { min: 1, max: 1 << 20, isInteger: true }) }),
  };
}

/** Policies to compare; the full cache is what they are compared with. */
function readNames(call: CommandCall): string[] {
  for (const other of ["policy", "reference-tokens"]) {
    if (call.has(other)) call.exclude(other, "compare");
  }
  const names = call.required("compare").split(",").map((name) => name.trim());
  const unknown = names.find((name) => !POLICY_NAMES.includes(name));
  if (unknown === undefined) return [...new Set(["full", ...names])];
  return call.fail(
    `--compare must list some of ${POLICY_NAMES.join(", ")}: current value is ${unknown}`,
  );
}

/** Several policies share the options: each takes those that it has, and each option must belong to at least one. */
function readPolicies(
  call: CommandCall,
  names: readonly string[],
  { budget, sampling }: Pick<GenerateRequest, "budget"> & {
    readonly sampling: SamplingOptions | undefined;
  },
): ResolvedPolicy[] {
  const options: PolicyOptions = readChoices(call, POLICY_CHOICES);
  const policies = names.map(findPolicy);
  const misused = policies.map((policy) => misusedOptions(policy, options));
  return usageOf(call, () => {
    for (const name of Object.keys(options) as OptionName[]) {
      const found = misused.map((own) => own.find(({ option }) => option === name));
      if (found.includes(undefined)) continue;
      // No policy takes it; one that has the option explains best what is missing.
      const accepted = found.find((misuse) => misuse!.isAccepted);
      if (accepted) throw accepted.error;
      // A temperature of 0 draws nothing.
      if (name === "seed" && sampling && sampling.temperature !== 0) continue;
      refuseChoice(call, name, policies.at(-1)!);
    }
    return policies.map((policy, index) => {
      const own = { ...options };
      for (const { option } of misused[index]!) delete own[option];
      const resolved = resolvePolicy(policy, own);
      checkBase(resolved, budget);
      return resolved;
    });
  });
}

function refuseChoice(call: CommandCall, name: OptionName, policy: Policy): never {
  const flags = acceptedOptions(policy).flatMap((option) => {
    const choice: Choice = POLICY_CHOICES[option];
    return Object.keys(choice.switches ?? { [flagOf(option, choice)]: 0 });
  });
  const list = flags.map((flag) => `--${flag}`).join(", ") || "none";
  return call.fail(
    `options of policy ${policy.name} must be some of ${list}: ` +
      `current value is ${typedChoice(call, name, POLICY_CHOICES[name])}`,
  );
}

/** How tokens are drawn, if any option says so; `--seed` is also that of policies that draw what they keep. */
function readSampling(call: CommandCall): SamplingOptions | undefined {
  const given = Object.keys(SAMPLING_FLAGS).filter((flag) => call.has(flag));
  if (given.length === 0) return undefined;
  for (const other of ["speculate", "reference-tokens"]) {
    if (call.has(other)) call.exclude(given[0]!, other);
  }
  const number = (flag: string) => call.number(flag, { min: -Infinity, max: Infinity });
  const sampling = {
    ...(call.has("temperature") && { temperature: number("temperature") }),
    ...(call.has("top-p") && { topP: number("top-p") }),
    ...(call.has("top-k") && { topK: number("top-k") }),
    ...(call.has("seed") && { seed: number("seed") }),
  };
  usageOf(call, () => checkSampling(sampling));
  const cut = ["top-p", "top-k"].find((flag) => call.has(flag));
  if (sampling.temperature === 0 && cut) {
    call.fail(`--${cut} must go with a --temperature above 0: current value is 0`);
  }
  return sampling;
}

/** The full cache keeps everything, so that a budget would change nothing. */
function refuseBudget(call: CommandCall, names: readonly string[], budget: CacheBudget): void {
  const isWhole = "ratio" in budget && budget.ratio === 1;
  if (!call.has("budget") || isWhole || names.some((name) => name !== "full")) return;
  call.fail("--budget must go with a policy that compresses: current policy is full");
}

function checkModels(call: CommandCall, hasSmall: boolean): void {
  if (call.has("large") && !call.has("small") && hasSmall) {
    call.fail(
      "--small must be given with --large for a policy that asks the small model: current value is none",
    );
  }
  if (call.has("small") && !call.has("large")) {
    call.fail("--large must be given with --small: current value is none");
  }
}

function refuseSmallFlags(call: CommandCall, names: readonly string[]): void {
  const flag = SMALL_FLAGS.find((name) => call.has(name));
  if (flag === undefined) return;
  call.fail(
    `${call.flag(flag)} must go with a policy that asks the small model, such as smallkv: ` +
      `current value is ${names.join(", ")}`,
  );
}

/** Whether the small model drafts, where a policy asks it. */
function readDrafts(
  call: CommandCall,
  { policies, cut, store, match }: Pick<GenerateRequest, "policies" | "cut" | "store" | "match">,
  { speculate: draftTokens, block }: RunChoices,
): DraftOptions {
  if (draftTokens === undefined) {
    if (block) call.fail(`--block must come with --speculate: current value is ${block} alone`);
    return {};
  }
  if (call.has("reference-tokens")) call.exclude("speculate", "reference-tokens");
  const drafting = policies.filter(({ saliencySource }) => saliencySource === "small");
  usageOf(call, () => {
    for (const policy of drafting.length > 0 ? drafting : policies) {
      checkSpeculation(policy, { draftTokens, store, match, ...cut, ...(block && { block }) });
    }
  }, "speculate");
  return { speculative: draftTokens, ...(block && { block }) };
}

/** Refuses options that exclude further turns, and blocks that the policy cannot run. */
function readTurnBlock(
  call: CommandCall,
  { policies, store }: Pick<GenerateRequest, "policies" | "store">,
  { turnBlock }: RunChoices,
): Pick<GenerateRequest, "turnBlock"> {
  if (!call.has("turns")) {
    if (turnBlock === undefined) return {};
    call.fail(`--turn-block must come with --turns: current value is ${turnBlock} alone`);
  }
  for (const other of ["tokens", "compare", "reference-tokens", "trace"]) {
    if (call.has(other)) call.exclude("turns", other);
  }
  if (turnBlock === undefined) return {};
  const settings = policies.map((policy) => ({ policy }));
  usageOf(call, () => checkTurnBlock(settings, { store, turnBlock }), "turn-block");
  return { turnBlock };
}

/** Refuses options with which each step's tokens, logits or selections are read. */
function readAhead(
  call: CommandCall,
  { policies, store }: Pick<GenerateRequest, "policies" | "store">,
): Pick<GenerateRequest, "ahead"> {
  if (!call.has("ahead")) return {};
  const readers = [
    "speculate",
    "reference-tokens",
    "stats",
    "json",
    ...Object.keys(SAMPLING_FLAGS),
  ];
  for (const other of readers) {
    if (call.has(other)) call.exclude("ahead", other);
  }
  if (call.value("small-tokens") === "own") call.exclude("ahead", "small-tokens");
  usageOf(call, () => checkAhead(policies, store), "ahead");
  return { ahead: call.number("ahead", { min: 1, max: 16, isInteger: true }) };
}

function readSteps(call: CommandCall): number[] {
  const text = call.value("trace");
  if (text === undefined) return [];
  if (!call.has("json")) call.fail("--trace must come with --json: current value is --trace alone");
  const steps = text.split(",").map((word) => /^\s*[1-9]\d*\s*$/.test(word) ? Number(word) : NaN);
  if (steps.every((step) => Number.isSafeInteger(step))) return steps.sort((a, b) => a - b);
  return call.fail(`--trace must list steps from 1 on, as 1,8,32: current value is ${text}`);
}

/**
 * Reads a match or a fitted map from a file.
 *
 * @returns What `deno task match` has written: the small head of each large head, or a map; nothing if no file is named.
 * @throws {DataError} If the file cannot be read or holds none.
 */
export async function readMatchMap(
  call: CommandCall,
): Promise<Pick<PairMatchOptions, "map" | "fittedMap">> {
  const path = call.value("match-map");
  if (path === undefined) return {};
  const requirement = "the file must hold a match";
  const content = await readJsonFile(path, requirement) as
    | { readonly match?: unknown; readonly fittedMap?: unknown }
    | null;
  if (content?.fittedMap !== undefined) {
    const fittedMap = parseFittedMap(content.fittedMap);
    if (typeof fittedMap !== "string") return { fittedMap };
    throw fileFault(path, "the file must hold a fitted map", { state: fittedMap });
  }
  const map = content?.match;
  if (Array.isArray(map) && map.every((head) => Number.isSafeInteger(head))) return { map };
  throw fileFault(path, requirement, { state: "content has no integers under match" });
}
