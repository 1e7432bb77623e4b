/**
 * Numbers of quality experiments with their intervals: paired over texts, or Wilson's for exact answers.
 *
 * @module
 */

import { bootstrapInterval, type Interval } from "../../core/bootstrap.ts";
import { mean, median } from "../../core/stats.ts";
import type { ModelShape } from "../experiment.ts";
import type { PolicyCell } from "./policy_runs.ts";
import { measuredMean, seeded } from "../similarity.ts";

/** What is measured of a text: mean divergence, share of equal choices, whole answer right. */
export type Measure = "kl" | "same" | "exact";

/** What intervals depend on besides the texts. */
export interface StatOptions {
  /** Seed of the run. */
  readonly seed: number;
}

/**
 * Drops texts in which a policy had no step, and sorts the others.
 *
 * @param cells Cells of one point.
 * @returns Cells with at least one step, by id.
 */
export function steppedCells(cells: readonly PolicyCell[]): PolicyCell[] {
  return cells.filter(({ kl }) => kl.length > 0).sort((a, b) => a.id < b.id ? -1 : 1);
}

/**
 * Reads a measure of a text.
 *
 * @param measure Which one.
 * @returns Nats a token, a share, or 0 or 1.
 */
export function measureOf(cell: PolicyCell, measure: Measure): number {
  return measure === "exact" ? cell.exact : mean(cell[measure]);
}

/**
 * Finds the median divergence of all steps.
 *
 * @param cells Cells of one point.
 * @param options Seed of the run.
 * @returns Median in nats with an interval over texts; absent without texts.
 */
export function medianKl(
  cells: readonly PolicyCell[],
  options: StatOptions,
): Interval | undefined {
  const own = steppedCells(cells);
  if (own.length === 0) return undefined;
  const statistic = (texts: Uint32Array) =>
    median(Array.from(texts, (text) => own[text]!.kl).flat());
  return bootstrapInterval(own.length, statistic, { ...seeded(options), resamples: 500 });
}

/**
 * Averages the difference of two points, or of several budgets of both, over the texts that both have.
 *
 * @param first Cells of one point; several cells of one text count as their mean.
 * @param second Cells of the other.
 * @param options Measure and seed.
 * @returns Mean of first - second; absent without texts.
 */
export function meanDifference(
  first: readonly PolicyCell[],
  second: readonly PolicyCell[],
  options: StatOptions & { readonly measure: Measure },
): Interval | undefined {
  const pairs = textPairs(first, second, options.measure);
  return measuredMean(pairs.map(([own, other]) => own - other), options);
}

/**
 * Divides the mean of a point by that of another, over the texts that both have.
 *
 * @param first Cells of one point.
 * @param second Cells of the other.
 * @param options Measure and seed.
 * @returns Mean of first over mean of second; absent without texts, or if the latter is 0.
 */
export function meanRatio(
  first: readonly PolicyCell[],
  second: readonly PolicyCell[],
  options: StatOptions & { readonly measure: Measure },
): Interval | undefined {
  const pairs = textPairs(first, second, options.measure);
  const sum = (texts: ArrayLike<number>, side: 0 | 1) =>
    Array.from(texts).reduce((total, text) => total + pairs[text]![side], 0);
  const all = pairs.map((_, text) => text);
  if (sum(all, 1) === 0) return undefined;
  const statistic = (texts: Uint32Array) => sum(texts, 0) / Math.max(1e-9, sum(texts, 1));
  return bootstrapInterval(pairs.length, statistic, seeded(options));
}

/** A measure of both points, per text that both have. */
function textPairs(
  first: readonly PolicyCell[],
  second: readonly PolicyCell[],
  measure: Measure,
): [number, number][] {
  const others = textMeans(second, measure);
  return [...textMeans(first, measure)].flatMap(([id, value]): [number, number][] => {
    const other = others.get(id);
    return other === undefined ? [] : [[value, other]];
  });
}

function textMeans(cells: readonly PolicyCell[], measure: Measure): Map<string, number> {
  const texts = Map.groupBy(steppedCells(cells), ({ id }) => id);
  return new Map(
    [...texts].map(([id, own]) => [id, mean(own.map((cell) => measureOf(cell, measure)))]),
  );
}

/** Memory of a point as shares of the large model's full cache, or of it and its weights. */
export interface MemoryShares {
  /** Cache of the large model. */
  readonly cache: number;
  /** With the small model's whole cache. */
  readonly withSmallModel: number;
  /** Caches and weights of all models, over cache and weights of the large model alone. */
  readonly withWeights: number;
}

/**
 * Counts the memory of a point: what the paper calls the budget, and what a small model really adds.
 *
 * @param cells Cells of the point, at least one.
 * @param models The models; the small model only where one runs.
 * @returns Shares.
 */
export function memoryShares(
  cells: readonly PolicyCell[],
  models: { readonly large: ModelShape; readonly smallModel?: ModelShape },
): MemoryShares {
  const { large, smallModel } = models;
  const cache = mean(cells.map(({ cost }) => cost));
  const tokens = mean(cells.map(({ tokens, kl }) => tokens + kl.length / 2));
  const full = tokens * entryBytes(large);
  const smallCache = smallModel ? tokens * entryBytes(smallModel) : 0;
  const weights = large.fileTensorBytes + (smallModel?.fileTensorBytes ?? 0);
  return {
    cache,
    withSmallModel: cache + smallCache / full,
    withWeights: (cache * full + smallCache + weights) / (full + large.fileTensorBytes),
  };
}

/**
 * Counts the bytes that a token takes in a full cache.
 *
 * @param shape Sizes of the model.
 * @returns Bytes of keys and values in 16 bits over all layers.
 */
export function entryBytes(
  { layers, kvHeads, headDim }: Pick<ModelShape, "layers" | "kvHeads" | "headDim">,
): number {
  return 4 * layers * kvHeads * headDim;
}
