/**
 * Policies and budgets of the sequences of a batch, and what they must have in common.
 *
 * @module
 */

import { type CacheBudget, checkBudget } from "../../cache/budget.ts";
import type { Granularity } from "../../cache/options.ts";
import { indexKey, type KeyIndex } from "../../cache/key_index.ts";
import { checkBase, type Reduction, type ResolvedPolicy } from "../../cache/policy_options.ts";
import { withWindows } from "../../cache/windowed_layers.ts";
import type { ModelConfig } from "../../models/config.ts";
import { layerWindows } from "../../models/layer_windows.ts";
import { readsRows, readsVectors } from "../../cache/scores/score.ts";
import { checkInteger, RequirementError } from "../../core/check.ts";
import type { StoreKind } from "../../cache/kv_store.ts";

/** How one sequence of a batch is decoded. */
export interface SequenceSetting {
  /** The rule. */
  readonly policy: ResolvedPolicy;
  /** What may be kept. */
  readonly budget: CacheBudget;
  /** How much of its own cache the small model keeps; all of it if left out. */
  readonly smallBudget?: CacheBudget;
  /**
   * Any number. Sequences with the same number get the same prompt and the same tokens, so that the small model reads them
   * once, or once for each of its own budgets; a sequence without a number shares the small model's work with no other.
   */
  readonly smallSequence?: number;
}

/** The sequences of a batch. */
export interface SequenceSettings {
  /** How each is decoded. */
  readonly settings: readonly SequenceSetting[];
  /** The small sequence that follows each; absent without a small model. */
  readonly smallSequences: readonly (number | undefined)[];
  /** For each small sequence, the first sequence that it follows. */
  readonly firstReaders: readonly number[];
  /** Which heads share a list of kept tokens; `layer` and `kv_match` have one list per KV head. */
  readonly granularity: Granularity;
  /** How the small model's scores are joined. */
  readonly reduction: Reduction;
  /** Whose attention weighs marginal values. */
  readonly weights: ResolvedPolicy["weights"];
  /** What the device keeps of every key, if tokens are ranked within each layer. */
  readonly index?: KeyIndex;
}

/** The sequences of a batch: one setting for all, or one for each. */
export type SequenceSettingOptions =
  | (Omit<SequenceSetting, "smallSequence"> & {
    /** Sequences held side by side; 1 if left out. */
    readonly sequences?: number;
    readonly settings?: never;
  })
  | {
    /**
     * One entry per sequence; they share the reduction, the weights and the list of kept tokens (see `listGranularity`),
     * and the small model is compressed either for all of them or for none.
     */
    readonly settings: readonly SequenceSetting[];
  };

/**
 * Resolves the settings of all sequences.
 *
 * @param options One setting for all sequences, or one for each; where their tokens are stored.
 * @param config The model whose cache is compressed; its layers see all tokens if left out.
 * @returns The sequences, with policies that know the windows of the model's layers.
 * @throws {RequirementError} If there are none, a budget is not valid, or they cannot run together.
 */
export function sequenceSettings(
  options: SequenceSettingOptions & { readonly store?: StoreKind },
  config: Pick<ModelConfig, "layerAttention"> = {},
): SequenceSettings {
  const sequences = options.settings ? options.settings.length : options.sequences ?? 1;
  checkInteger("decode together", "sequences", { value: sequences, min: 1 });
  const given = options.settings ??
    new Array<SequenceSetting>(sequences).fill(onlySetting(options));
  const settings = given.map((setting) => ({
    ...setting,
    policy: withWindows(setting.policy, layerWindows(config)),
  }));
  for (const { policy, budget } of settings) checkBase(policy, checkBudget(budget));
  const withSmallModel = settings.filter(({ policy }) => policy.saliencySource === "small");
  const granularity = onlyOne("granularity", settings.map(({ policy }) => listGranularity(policy)));
  const reduction = onlyOne("reduction", withSmallModel.map(({ policy }) => policy.reduction)) ??
    "mean";
  onlyOne(
    "kind of small model",
    withSmallModel.map(({ smallBudget }) => smallBudget ? "compressed" : "whole"),
  );
  const weights = onlyOne("weights", withSmallModel.map(({ policy }) => policy.weights)) ??
    "query_head";
  onlyOne("index of keys", settings.map(({ policy }) => indexKey(policy.index)));
  const { index } = settings[0]!.policy;
  if (options.store === "tiered") checkTiered(settings, granularity!);
  return {
    settings,
    ...smallSequencesOf(settings),
    granularity: granularity!,
    reduction,
    weights,
    ...(index && { index }),
  };
}

/**
 * Tells whether a policy reads keys and values of a model that no row of its attention sees any longer, so that layers with a
 * window must hold all tokens: for an index or a score of keys, for keys at the positions of slots, or while tokens of a
 * prompt are dropped from layer to layer.
 *
 * @param policy The policy.
 * @param model Which model.
 */
export function readsAllTokens(
  { prune, index, positions, saliencySource, score }: ResolvedPolicy,
  model: "large" | "small",
): boolean {
  if (score !== undefined && saliencySource === model && readsVectors(score)) return true;
  return model === "large" &&
    (prune !== undefined || index !== undefined || positions === "slot");
}

/** Whether tokens are chosen before a step's attention, which then sees what the step's own plan chose. */
export function plansBefore({ timing, stale }: ResolvedPolicy): boolean {
  return timing === "before" && !stale;
}

/** Whether a policy ranks by the large model's newest rows of attention. */
export function wantsRows({ saliencySource, score }: ResolvedPolicy): boolean {
  return saliencySource === "large" && score !== undefined && readsRows(score);
}

/** Whether the device keeps a policy's scores: sums of the small model's rows, fading or not. */
export function isDeviceScore({ saliencySource, score }: ResolvedPolicy): boolean {
  return saliencySource === "small" && score?.decay !== undefined;
}

/** Factor on older rows at each step of scores that the device keeps: 1 for a sum, 0 for the current row alone. */
export function decayOf({ score }: ResolvedPolicy): number {
  return score?.decay ?? 1;
}

/** How a small model's scores start: a factor on older rows, and the last rows of the prompt that count. */
export interface ScoreKind {
  /** 1 for a sum, 0 for the current row alone. */
  readonly decay: number;
  /** Rows; infinite for all. */
  readonly rows: number;
}

/** Sums over the whole prompt. */
export const PLAIN_SCORES: ScoreKind = { decay: 1, rows: Infinity };

/** How the scores of a policy with a small model start. */
export function scoreKind(policy: ResolvedPolicy): ScoreKind {
  return { decay: decayOf(policy), rows: policy.scoreRows };
}

/** A key that equal kinds of scores share. */
export function scoreKey({ decay, rows }: ScoreKind): string {
  return `${decay} over ${rows}`;
}

/** Which heads share a list of kept tokens in kernels; settings can be decoded together only if they agree in it. */
export function listGranularity({ granularity }: ResolvedPolicy): "query_head" | "kv_head" {
  return granularity === "query_head" ? "query_head" : "kv_head";
}

function smallSequencesOf(
  settings: readonly SequenceSetting[],
): Pick<SequenceSettings, "smallSequences" | "firstReaders"> {
  const known = new Map<string, number>();
  const firstReaders: number[] = [];
  const smallSequences = settings.map(({ policy, smallSequence, smallBudget }, setting) => {
    if (policy.saliencySource !== "small") return undefined;
    const key = JSON.stringify([smallSequence, smallBudget]);
    const index = (smallSequence !== undefined ? known.get(key) : undefined) ?? firstReaders.length;
    if (smallSequence !== undefined) known.set(key, index);
    if (index === firstReaders.length) firstReaders.push(setting);
    return index;
  });
  return { smallSequences, firstReaders };
}

function checkTiered(settings: readonly SequenceSetting[], granularity: Granularity): void {
  onlyOne("policy and budget in a tiered store", settings.map(settingText));
  if (granularity !== "query_head") return;
  throw new RequirementError({
    action: "keep tokens in a tiered store",
    requirement: "granularity must be kv_head, kv_match or layer",
    current: `${granularity}, a simulation for stores that hold every token`,
  });
}

function onlySetting({ policy, budget, smallBudget }: SequenceSetting): SequenceSetting {
  return { policy, budget, ...(smallBudget && { smallBudget }) };
}

function settingText({ policy, budget, smallBudget }: SequenceSetting): string {
  return `${policy.name} ${JSON.stringify({ ...policy, ...budget, smallBudget })}`;
}

function onlyOne<T extends string>(what: string, values: readonly T[]): T | undefined {
  const different = [...new Set(values)];
  if (different.length < 2) return different[0];
  throw new RequirementError({
    action: "decode together",
    requirement: `sequences must have one ${what}`,
    state: `values are ${different.map((value) => value.split(" ")[0]).join(", ")}`,
  });
}
