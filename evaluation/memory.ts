/**
 * Memory that a setting needs for one answer, as people pay for it: weights and caches of all models that take part.
 *
 * @module
 */

import { layerSlots, ringsOf } from "../cache/full_cache.ts";
import type { EvaluatedModel, EvaluatedModels } from "./evaluated_models.ts";
import { policyOf, smallCutOf } from "./settings.ts";
import type { ItemScore, SummaryCell } from "./summary.ts";

/** Bytes that a setting needs for one answer at a time; means over items. */
export interface PaidMemory {
  /**
   * On the device at the end of an answer, where a cache is largest while decoding: keys and values of both models, sketches
   * of keys, and sums of values where the rest of the tokens counts.
   */
  readonly cache: number;
  /** The same without the small model. */
  readonly cacheWithoutSmall: number;
  /** On the device once the prompt is read and before anything is dropped, weights included. */
  readonly prefill: number;
  /** The same without the small model. */
  readonly prefillWithoutSmall: number;
  /** On the device at the end of an answer, weights included. */
  readonly decode: number;
  /** The same without the small model. */
  readonly decodeWithoutSmall: number;
  /**
   * On the host at the end of an answer, where the large model's whole cache waits for dropped tokens to return; null where
   * the policy, or the length of the text, is not known.
   */
  readonly host: number | null;
  /** Weights that are there for the small model alone; 0 if no small model takes part, or the large one takes its part. */
  readonly smallWeights: number;
}

/**
 * Adds up what a setting needs.
 *
 * Policies that drop tokens while they read the prompt never hold all of it at once; theirs is an upper bound of the
 * prompt's phase, as it is for a small model that stops after some of its layers or has fewer bits where the length of the
 * text is not known.
 *
 * @param cell Means over items, or one item.
 * @param models Sizes of the models, found by their hashes.
 */
export function paidMemory(
  cell: SizedCell,
  models: EvaluatedModels,
): PaidMemory {
  const { bytes, promptTokens, cachedTokens } = cell;
  const policy = policyOf(cell.setting);
  const large = modelOf(cell.models.large, models);
  const small = cell.models.small === undefined ? undefined : modelOf(cell.models.small, models);
  const smallWeights = small === undefined || small.hash === large.hash ? 0 : small.fileTensorBytes;
  const largePrompt = large.fileTensorBytes + promptBytes(large, promptTokens);
  const smallPrompt = small ? smallWeights + smallPromptBytes(cell, small) : 0;
  // A 32-bit sum for each KV head and element: as large as a token's keys and values in 16 bits (D-31).
  const kept = bytes.large + (policy?.rest === "mean" ? large.tokenBytes : 0);
  const largeDecode = large.fileTensorBytes + kept;
  const isReturning = policy?.candidates === "all" && policy.name !== "full";
  const whole = cachedTokens === undefined ? null : promptBytes(large, cachedTokens);
  return {
    cache: kept + bytes.small,
    cacheWithoutSmall: kept,
    prefill: largePrompt + smallPrompt,
    prefillWithoutSmall: largePrompt,
    decode: largeDecode + smallWeights + bytes.small,
    decodeWithoutSmall: largeDecode,
    host: policy === undefined ? null : isReturning ? whole : 0,
    smallWeights,
  };
}

/** What bytes follow from: means over items, or one item. */
export type SizedCell = Pick<
  SummaryCell | ItemScore,
  "models" | "bytes" | "promptTokens" | "setting" | "cachedTokens"
>;

/** Bytes of one answer as shares of the bytes of the large model's full cache of the same text. */
export interface TotalShares {
  /** What is on the device beside weights; see {@link PaidMemory}. */
  readonly cache: number;
  /** The same and the small model's weights, which answers at the same time share. */
  readonly withWeights: number;
}

/**
 * Computes what an answer needs in shares of the large model's full cache.
 *
 * @param score The answer.
 * @param models Sizes of the models.
 * @returns Shares; undefined if the length of the text is not known.
 */
export function totalShares(score: SizedCell, models: EvaluatedModels): TotalShares | undefined {
  const full = fullBytes(score, models);
  if (full === undefined) return undefined;
  const { cache, smallWeights } = paidMemory(score, models);
  return { cache: cache / full, withWeights: (cache + smallWeights) / full };
}

/** Bytes of the large model's full cache of an answer's text; undefined if its length is not known. */
export function fullBytes(
  { cachedTokens }: Pick<SizedCell, "cachedTokens">,
  { large }: EvaluatedModels,
): number | undefined {
  return cachedTokens === undefined ? undefined : promptBytes(large, cachedTokens);
}

/** Bytes of a prompt's keys and values of the small model, of which nothing is dropped yet. */
function smallPromptBytes(
  { setting, bytes, promptTokens, cachedTokens }: SizedCell,
  small: EvaluatedModel,
): number {
  const whole = promptBytes(small, promptTokens);
  const { smallBudget, smallLayers, smallCacheBits } = smallCutOf(setting);
  const isCut = smallLayers !== undefined || smallCacheBits !== undefined;
  if (!isCut || smallBudget || cachedTokens === undefined) return whole;
  // Of layers that do not run and of bits that it lacks, it holds as little as at the end of the text.
  return whole * bytes.small / promptBytes(small, cachedTokens);
}

/** Bytes of a prompt's keys and values; layers with a window hold no more than their ring. */
function promptBytes({ tokenBytes, windows }: EvaluatedModel, tokens: number): number {
  if (!windows) return tokens * tokenBytes;
  const rings = ringsOf(windows.map((window) => window ?? undefined), { capacity: tokens });
  const sizes = { capacity: tokens, ...(rings && { rings }) };
  const slots = windows.reduce<number>((sum, _, layer) => sum + layerSlots(sizes, layer), 0);
  return slots * tokenBytes / windows.length;
}

function modelOf(hash: string, { large, small }: EvaluatedModels): EvaluatedModel {
  return small !== undefined && hash === small.hash ? small : large;
}
