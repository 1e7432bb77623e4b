/**
 * What the sequences of a batch are decoded under, and what they must have in common.
 *
 * @module
 */

import type { CacheBudget } from "../../cache/budget.ts";
import type { Granularity } from "../../cache/options.ts";
import { checkBase, type Reduction, type ResolvedPolicy } from "../../cache/policy_options.ts";
import { readsRows } from "../../cache/scores/score.ts";
import { checkInteger } from "../../core/check.ts";
import type { StoreKind } from "../../cache/kv_store.ts";

/** What one sequence of a batch is decoded under. */
export interface SequenceSetting {
  /** What is kept. */
  readonly policy: ResolvedPolicy;
  /** How much is kept. */
  readonly budget: CacheBudget;
  /** How much a small model keeps of its own cache; all of it if left out. */
  readonly smallBudget?: CacheBudget;
  /**
   * Any number. Sequences with the same one get the same prompt and the same tokens, so that the small model reads them once,
   * or once for each budget of its own; without one, a sequence has its small model for itself.
   */
  readonly smallSequence?: number;
}

/** The sequences of a batch. */
export interface SequenceSettings {
  /** What each is decoded under. */
  readonly settings: readonly SequenceSetting[];
  /** Sequence of the small model that reads along with each; absent without a small model. */
  readonly smallSequences: readonly (number | undefined)[];
  /** For each sequence of the small model, the first that it reads along with. */
  readonly firstReaders: readonly number[];
  /** What shares a list of kept tokens; `layer` and `kv_match` have one per KV head. */
  readonly granularity: Granularity;
  /** How the small model's scores join. */
  readonly reduction: Reduction;
  /** Whose attention weighs marginal values. */
  readonly weights: ResolvedPolicy["weights"];
}

/** The sequences of a batch, by one setting for all or one for each. */
export type SequenceSettingOptions =
  | (Omit<SequenceSetting, "smallSequence"> & {
    /** Sequences held side by side; 1 if left out. */
    readonly sequences?: number;
    readonly settings?: never;
  })
  | {
    /**
     * One entry per sequence; they share the family of their granularity their reduction and their weights, and either
     * all small models are compressed or none is.
     */
    readonly settings: readonly SequenceSetting[];
  };

/**
 * Settles what each sequence is decoded under.
 *
 * @param options One setting for all sequences, or one for each; where their tokens lie.
 * @returns The sequences.
 * @throws {RangeError} If there are none, or they cannot run together.
 */
export function sequenceSettings(
  options: SequenceSettingOptions & { readonly store?: StoreKind },
): SequenceSettings {
  const settings = options.settings ??
    new Array<SequenceSetting>(options.sequences ?? 1).fill(onlySetting(options));
  checkInteger("decode together", "sequences", { value: settings.length, min: 1 });
  for (const { policy, budget } of settings) checkBase(policy, budget);
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
  if (options.store === "tiered") {
    onlyOne("policy and budget in a tiered store", settings.map(settingText));
  }
  return { settings, ...smallSequencesOf(settings), granularity: granularity!, reduction, weights };
}

/**
 * Tells whether a step's attention sees what its own plan chose.
 *
 * @param policy The policy.
 * @returns Whether tokens are chosen before the step.
 */
export function plansBefore({ timing, stale }: ResolvedPolicy): boolean {
  return timing === "before" && !stale;
}

/**
 * Tells whether every step's attention of the large model counts.
 *
 * @param policy The policy.
 * @returns Whether the newest rows are wanted.
 */
export function wantsRows({ saliencySource, score }: ResolvedPolicy): boolean {
  return saliencySource === "large" && score !== undefined && readsRows(score);
}

/**
 * Tells whether the device keeps a policy's scores, by the heads of the small model.
 *
 * @param policy The policy.
 * @returns Whether they are sums of rows, old ones fading or not.
 */
export function isDeviceScore({ saliencySource, score }: ResolvedPolicy): boolean {
  return saliencySource === "small" && score?.decay !== undefined;
}

/**
 * Factor on older rows at each step of scores that the device keeps.
 *
 * @param policy The policy.
 * @returns 1 for a sum, 0 for the current row alone.
 */
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

/**
 * Tells how a policy's scores start.
 *
 * @param policy A policy with a small model.
 * @returns Factor and rows.
 */
export function scoreKind(policy: ResolvedPolicy): ScoreKind {
  return { decay: decayOf(policy), rows: policy.scoreRows };
}

/**
 * Names a kind of scores.
 *
 * @param kind Factor and rows.
 * @returns A key that equal kinds share.
 */
export function scoreKey({ decay, rows }: ScoreKind): string {
  return `${decay} over ${rows}`;
}

/**
 * Tells what shares a list of kept tokens in kernels: settings of one family can be decoded together.
 *
 * @param policy The policy.
 * @returns `query_head`, or `kv_head` for everything else.
 */
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

function onlySetting({ policy, budget, smallBudget }: SequenceSetting): SequenceSetting {
  return { policy, budget, ...(smallBudget && { smallBudget }) };
}

function settingText({ policy, budget, smallBudget }: SequenceSetting): string {
  return `${policy.name} ${JSON.stringify({ ...policy, ...budget, smallBudget })}`;
}

function onlyOne<T extends string>(what: string, values: readonly T[]): T | undefined {
  const different = [...new Set(values)];
  if (different.length < 2) return different[0];
  throw new RangeError(
    `Cannot decode together: sequences must have one ${what}: current values are ${
      different.map((value) => value.split(" ")[0]).join(", ")
    }`,
  );
}
