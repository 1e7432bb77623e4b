/**
 * What items are answered under: policies with options, budgets, seeds, and which models take which part.
 *
 * @module
 */

import type { CacheBits } from "../cache/full_cache.ts";
import { budgetText, type CacheBudget, checkBudget, parseBudget } from "../cache/budget.ts";
import { checkChoice, type Choice, flagOf, typedValue } from "../cache/choice.ts";
import {
  acceptedOptions,
  checkBase,
  createPolicy,
  findPolicy,
  MATCH_CHOICES,
  POLICY_CHOICES,
  type PolicyOptions,
  type ResolvedPolicy,
  RUN_CHOICES,
} from "../cache/policy_options.ts";
import { POLICIES } from "../cache/policies/mod.ts";
import { checkInteger, DataError, RequirementError } from "../core/check.ts";
import { canonicalJson, type JsonValue } from "../core/json.ts";
import type { PolicySetting } from "../decoding/engine/settings.ts";
import type { SmallModelCut } from "../decoding/scoring/small_model.ts";
import type { ModelPair } from "../decoding/engine/types.ts";
import { withOwnTokens } from "../models/forward/own_tokens.ts";
import { sameVocabulary } from "../models/tokenizer/tokenizer.ts";
import { type Variant, VARIANTS } from "./policy_variants.ts";

/**
 * Which models take part. `given`: the pair. `small_alone`: the small model with its full cache and no large one.
 * `own_small`: the large model as its own small model, an upper bound of what guidance can give.
 */
export type Pairing = "given" | "small_alone" | "own_small";

/** One way to answer every item. */
export interface EvaluationSetting extends PolicySetting {
  /** Choices of the policy that differ from the recommended ones. */
  readonly options: PolicyOptions;
  /** Which models take part. */
  readonly pairing: Pairing;
  /** Present if the small model reads the text in tokens of its own (D-35). */
  readonly smallTokens?: "own";
}

/** What an evaluation compares. */
export interface SettingsRequest {
  /** Policies, as in `smallkv:normalize=rows`; names of `VARIANTS` are understood, too. */
  readonly policies: readonly string[];
  /** Shares of the full cache in (0, 1], or numbers of tokens. */
  readonly budgets: readonly (number | CacheBudget)[];
  /** Seeds of policies that draw what they keep; 3 if left out. */
  readonly seeds?: number;
  /** Whether the small model also answers alone. */
  readonly smallAlone?: boolean;
  /** Whether policies that ask the small model are also run with the large model in its place. */
  readonly ownSmall?: boolean;
}

/** Seeds of policies that draw if no number is given. */
export const DEFAULT_SEEDS = 3;

/** The budget of what keeps everything. */
const WHOLE: CacheBudget = { ratio: 1 };

/**
 * Lists the settings of an evaluation, each once; the full cache is one setting whatever the budgets.
 *
 * @param request Policies, budgets, seeds, controls.
 * @throws {RequirementError} If a policy, an option or a budget is not allowed.
 */
export function evaluationSettings(request: SettingsRequest): EvaluationSetting[] {
  const { policies, seeds = DEFAULT_SEEDS, smallAlone = false, ownSmall = false } = request;
  checkInteger("evaluate", "seeds", { value: seeds, min: 1 });
  const budgets = request.budgets.map((budget) =>
    checkBudget(typeof budget === "number" ? { ratio: budget } : budget)
  );
  const settings = policies.flatMap((text) => {
    const { policy, options, smallTokens, ...cut } = parsePolicy(text);
    const isDrawn = acceptedOptions(findPolicy(policy)).includes("seed") && !("seed" in options);
    const drawn = isDrawn
      ? Array.from({ length: seeds }, (_, index) => ({ ...options, seed: index + 1 }))
      : [options];
    const own = policy === "full" ? [WHOLE] : budgets;
    checkInteger("evaluate", "budgets", { value: own.length, min: 1 });
    return own.flatMap((budget) =>
      drawn.flatMap((options): EvaluationSetting[] => {
        const resolved = createPolicy(policy, options);
        checkBase(resolved, budget);
        const setting = { policy, options, budget, ...cut, pairing: "given" } as const;
        const given = { ...setting, ...(smallTokens && { smallTokens }) };
        const hasOwn = ownSmall && resolved.saliencySource === "small";
        return hasOwn ? [given, { ...setting, pairing: "own_small" }] : [given];
      })
    );
  });
  if (smallAlone) {
    settings.push({ policy: "full", options: {}, budget: WHOLE, pairing: "small_alone" });
  }
  const unique = new Map(settings.map((setting) => [canonicalJson(settingJson(setting)), setting]));
  checkInteger("evaluate", "settings", { value: unique.size, min: 1 });
  return [...unique.values()];
}

/** Fields of a setting, of which a row of answers has more. */
const FIELDS: Readonly<Record<keyof EvaluationSetting, true>> = {
  policy: true,
  options: true,
  budget: true,
  smallBudget: true,
  smallLayers: true,
  smallTokens: true,
  smallCacheBits: true,
  matchBy: true,
  pairing: true,
};

/** The setting of a row of answers, as plain data. */
export function rowSetting(row: EvaluationSetting): Readonly<Record<string, JsonValue>> {
  const fields = Object.entries(row).filter(([name]) => name in FIELDS);
  return JSON.parse(JSON.stringify(Object.fromEntries(fields)));
}

/** A setting as plain data. */
export function settingJson(setting: EvaluationSetting): Readonly<Record<string, JsonValue>> {
  return JSON.parse(JSON.stringify(setting));
}

/** A policy with its choices, and how the small model is made cheaper. */
type ParsedPolicy = Omit<EvaluationSetting, "budget" | "pairing">;

/**
 * Reads a policy with options, as in `smallkv:normalize=rows:small-budget=0.4`. Options have the names of their flags.
 *
 * @throws {RequirementError} If there is no such policy or option, or a value is not allowed.
 */
export function parsePolicy(text: string): ParsedPolicy {
  const [name = "", ...parts] = text.trim().split(":");
  const variant: Variant | undefined = (VARIANTS as Readonly<Record<string, Variant>>)[name];
  const policy = findPolicy(variant?.policy ?? name).name;
  const pairs = parts.map(parseOption);
  const names = pairs.map(([name]) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) {
    throw new RequirementError({
      action,
      requirement: `${flagOf(twice, CHOICES[twice]!)} must be given once`,
      current: text,
    });
  }
  const chosen = Object.fromEntries(pairs);
  const { smallBudget, smallLayers, smallTokens, smallCacheBits, matchBy, ...made } = chosen;
  const options: PolicyOptions = { ...variant?.options, ...made };
  const { saliencySource } = createPolicy(policy, options);
  const isSmallOnly = smallBudget ?? smallLayers ?? smallTokens ?? smallCacheBits ?? matchBy;
  if (parts.length > 0 && saliencySource !== "small" && isSmallOnly !== undefined) {
    throw new RequirementError({
      action,
      requirement:
        "small-budget, small-layers, small-tokens, small-cache-bits and match-by must go with a policy that asks the small model",
      current: text,
    });
  }
  const hasOwnTokens = smallTokens === "own";
  if (hasOwnTokens && smallBudget !== undefined) {
    throw new RequirementError({
      action,
      requirement: "small-tokens=own must go without small-budget",
      current: text,
    });
  }
  return {
    policy,
    options,
    ...(smallBudget !== undefined && { smallBudget: parseBudget(String(smallBudget)) }),
    ...(smallLayers !== undefined && { smallLayers: Number(smallLayers) }),
    ...(smallCacheBits !== undefined && { smallCacheBits: smallCacheBits as CacheBits }),
    ...(hasOwnTokens && { smallTokens: "own" }),
    ...(matchBy !== undefined && { matchBy: matchBy as NonNullable<ParsedPolicy["matchBy"]> }),
  };
}

const action = "set up a cache policy";
const { smallBudget, smallLayers, smallTokens, smallCacheBits } = RUN_CHOICES;
const matchBy = { ...MATCH_CHOICES.by, flag: "match-by" };
const CHOICES: Readonly<Record<string, Choice>> = {
  ...POLICY_CHOICES,
  ...{ smallBudget, smallLayers, smallTokens, smallCacheBits, matchBy },
};

function parseOption(part: string): [string, string | number | boolean] {
  const [given, value] = part.split("=") as [string, string?];
  const found = Object.entries(CHOICES)
    .find(([name, choice]) => given === flagOf(name, choice) || given === name);
  if (found === undefined || !value) {
    const names = Object.entries(CHOICES).map(([name, choice]) => flagOf(name, choice)).join(", ");
    throw new RequirementError({
      action,
      requirement: `options must be written NAME=VALUE with one of ${names}`,
      current: part,
    });
  }
  const [name, choice] = found;
  const typed = typedValue(choice, value);
  checkChoice(flagOf(name, choice), choice, typed, action);
  return [name, typed as string | number | boolean];
}

/** What names a setting besides its budget and seed. */
type Named = Omit<EvaluationSetting, "budget">;

/**
 * Names a setting without its budget and seed, as tables do.
 *
 * @returns The policy as it is written on the command line, options sorted; `small model alone` for that control.
 */
export function settingName(
  { policy, options, smallBudget, smallLayers, smallTokens, smallCacheBits, matchBy, pairing }:
    Named,
): string {
  if (pairing === "small_alone") return SMALL_ALONE;
  const { seed: _, ...others } = options;
  const made = {
    ...others,
    ...(smallBudget && { smallBudget: budgetText(smallBudget) }),
    ...(smallLayers !== undefined && { smallLayers }),
    ...(smallCacheBits !== undefined && { smallCacheBits }),
    ...(smallTokens && { smallTokens }),
    ...(matchBy && { matchBy }),
  };
  const words = Object.entries(made).map(([name, value]) =>
    `${flagOf(name, CHOICES[name]!)}=${value}`
  );
  const written = [policy, ...words.sort()].join(":");
  return pairing === "own_small" ? written + OWN_SMALL : written;
}

/** Name of the control that is the small model alone. */
export const SMALL_ALONE = "small model alone";
/** End of the names of settings whose small model is the large one. */
const OWN_SMALL = " (large model as small)";

/**
 * Resolves the policy of a setting.
 *
 * @param name Name of the setting; see {@link settingName}.
 * @returns The policy, that of the full cache for the small model alone; undefined if it is not among those of this code.
 */
export function policyOf(name: string): ResolvedPolicy | undefined {
  if (name === SMALL_ALONE) return createPolicy("full");
  const parsed = parsedName(name);
  return parsed && createPolicy(parsed.policy, parsed.options);
}

/**
 * Tells how a setting makes the small model cheaper.
 *
 * @param name Name of the setting; see {@link settingName}.
 * @returns What differs from the whole small model; nothing for policies that are not among those of this code.
 */
export function smallCutOf(name: string): SmallModelCut {
  const { smallBudget, smallLayers, smallCacheBits } = parsedName(name) ?? {};
  return {
    ...(smallBudget && { smallBudget }),
    ...(smallLayers !== undefined && { smallLayers }),
    ...(smallCacheBits !== undefined && { smallCacheBits }),
  };
}

function parsedName(name: string): ParsedPolicy | undefined {
  const text = name.endsWith(OWN_SMALL) ? name.slice(0, -OWN_SMALL.length) : name;
  const [own = ""] = text.split(":");
  return POLICIES.some((policy) => policy.name === own) ? parsePolicy(text) : undefined;
}

/** Whether a setting of this name keeps everything and is run once, so that every budget is compared with that. */
export function isRunOnce(name: string): boolean {
  return name === SMALL_ALONE || name.split(":")[0] === "full";
}

/** Whether the small model must be there, to be asked or to answer alone. */
export function asksSmall(
  { policy, options, pairing }: Pick<EvaluationSetting, "policy" | "options" | "pairing">,
): boolean {
  if (pairing !== "given") return pairing === "small_alone";
  return createPolicy(policy, options).saliencySource === "small";
}

/**
 * Models of a setting: the large one, and the small one if its policy asks it. One with tokens of its own is still the same
 * model: see {@link answeringPair}.
 */
export function pairOf(
  pair: ModelPair,
  { policy, options, pairing }: Pick<EvaluationSetting, "policy" | "options" | "pairing">,
): ModelPair {
  const { large, small } = pair;
  if (pairing === "small_alone") return { large: needSmall(pair) };
  if (createPolicy(policy, options).saliencySource !== "small") return { large };
  return { large, small: pairing === "own_small" ? large : small ?? needSmall(pair) };
}

/**
 * Models of a setting as they answer.
 *
 * @throws {RequirementError} If the small model is missing, or has no tokenizer where it reads in tokens of its own.
 */
export function answeringPair(
  pair: ModelPair,
  setting: Omit<EvaluationSetting, "budget">,
): ModelPair {
  const { large, small } = pairOf(pair, setting);
  return {
    large,
    ...(small && { small: setting.smallTokens === "own" ? withOwnTokens(small, large) : small }),
  };
}

/**
 * Throws if the small model is to answer alone, in the large one's tokens, which mean something else to it.
 *
 * @throws {DataError} If so.
 */
export function checkSmallAlone(
  { large, small }: ModelPair,
  settings: readonly Pick<EvaluationSetting, "pairing">[],
): void {
  if (!small?.tokenizer || !large.tokenizer) return;
  const isAsked = settings.some(({ pairing }) => pairing === "small_alone");
  if (!isAsked || sameVocabulary(large.tokenizer, small.tokenizer)) return;
  throw new DataError(
    `Cannot evaluate the small model alone: both models must have one vocabulary, since prompts are the same tokens: current models are ${large.name} and ${small.name}`,
  );
}

function needSmall({ small }: ModelPair) {
  if (small) return small;
  throw new RequirementError({
    action: "evaluate",
    requirement: "a small model must be given for policies that ask it, and to answer alone",
    state: "value is none",
  });
}
