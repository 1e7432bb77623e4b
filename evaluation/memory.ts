/**
 * Memory that a setting needs for one answer, as people pay for it: weights and caches of all models that take part.
 *
 * @module
 */

import { layerSlots, ringsOf } from "../cache/full_cache.ts";
import type { EvaluatedModel, EvaluatedModels } from "./folder.ts";
import type { ItemScore, SummaryCell } from "./summary.ts";

/** Bytes that a setting needs for one answer at a time; means over items. */
export interface PaidMemory {
  /** Keys and values at the end of an answer, both models, device and host: where a cache is largest while decoding. */
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
  /** On the host at the end of an answer. */
  readonly host: number;
  /** Weights that are there for the small model alone; 0 if no small model takes part, or the large one takes its part. */
  readonly smallWeights: number;
}

/**
 * Adds up what a setting needs.
 *
 * Policies that drop tokens while they read the prompt never hold all of it at once; theirs is an upper bound of the
 * prompt's phase, as it is for a small model that stops after some of its layers.
 *
 * @param cell Means over items, or one item.
 * @param models Sizes of the models, found by their hashes.
 */
export function paidMemory(
  cell: Pick<SummaryCell | ItemScore, "models" | "bytes" | "promptTokens">,
  models: EvaluatedModels,
): PaidMemory {
  const { bytes, promptTokens } = cell;
  const large = modelOf(cell.models.large, models);
  const small = cell.models.small === undefined ? undefined : modelOf(cell.models.small, models);
  const smallWeights = small === undefined || small.hash === large.hash ? 0 : small.fileTensorBytes;
  const largePrompt = large.fileTensorBytes + promptBytes(large, promptTokens);
  const smallPrompt = small ? smallWeights + promptBytes(small, promptTokens) : 0;
  const largeDecode = large.fileTensorBytes + bytes.large;
  return {
    cache: bytes.large + bytes.small + bytes.host,
    cacheWithoutSmall: bytes.large + bytes.host,
    prefill: largePrompt + smallPrompt,
    prefillWithoutSmall: largePrompt,
    decode: largeDecode + smallWeights + bytes.small,
    decodeWithoutSmall: largeDecode,
    host: bytes.host,
    smallWeights,
  };
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

/** A setting that is the best of all that need no more bytes than it does. */
export interface BestSetting<T> {
  /** The setting. */
  readonly cell: T;
  /** Bytes from which on it is the best, until the next one. */
  readonly bytes: number;
}

/**
 * Finds at which total of bytes which setting scores best; of equal scores the one with fewer bytes.
 *
 * @param cells Settings of one task.
 * @param bytesOf Bytes that count.
 * @returns Best settings by ascending bytes and scores.
 */
export function bestByBytes<T extends Pick<SummaryCell, "score">>(
  cells: readonly T[],
  bytesOf: (cell: T) => number,
): BestSetting<T>[] {
  const sorted = cells.map((cell) => ({ cell, bytes: bytesOf(cell) }))
    .sort((a, b) => a.bytes - b.bytes || b.cell.score.value - a.cell.score.value);
  let best = -Infinity;
  return sorted.filter(({ cell: { score } }) => {
    const isBetter = score.value > best;
    best = Math.max(best, score.value);
    return isBetter;
  });
}
