/**
 * Saliency shift: how far the salient tokens of a model whose cache was compressed once differ from those of the same
 * model with its full cache (Fig. 1b).
 *
 * @module
 */

import { checkInteger, checkLength, RequirementError } from "../core/check.ts";
import { accumulateAttention, type AttentionMap, windowAttention } from "./attention_map.ts";
import { type Normalisation, perRow } from "./row_means.ts";
import { jaccardSimilarity, salientTokens, shareOfTokens } from "./similarity.ts";

/** What was dropped and when. */
export interface DropOptions {
  /** Tokens before the compression. */
  readonly firstTokens: number;
  /** Kept positions below `firstTokens`, ascending; later rows do not see the others. */
  readonly kept: ArrayLike<number>;
}

/** How salient tokens are chosen. */
export interface SalientOptions {
  /** Share of tokens in each set, in (0, 1]. */
  readonly budgetRatio: number;
  /** D-1: whether sums are divided by the rows that could see each token. */
  readonly normalise?: Normalisation;
}

/** Salient sets under both views. */
export interface SaliencyShift {
  /** 1 - `jaccard`; 0 is no shift. */
  readonly shift: number;
  /** Similarity of the two sets, as the paper prints it. */
  readonly jaccard: number;
  /** Salient tokens of the full cache, ascending. */
  readonly fullView: Uint32Array;
  /** Salient tokens after the drop, ascending; none of them was dropped. */
  readonly droppedView: Uint32Array;
}

/**
 * Measures the saliency shift of one head from its full attention map (the offline variant): columns of dropped tokens are
 * removed and the rows that follow are normalized again. Hidden states do not change; to include their change, run the
 * model again with the dropped tokens hidden.
 *
 * @param map Full causal map, queries = keys.
 * @param options Share of tokens to keep, and the tokens before the compression (half if left out).
 * @returns Both salient sets and their similarity.
 * @throws {RequirementError} If the budget lies outside (0, 1] or leaves no token.
 */
export function saliencyShift(
  map: AttentionMap,
  options: SalientOptions & { readonly firstTokens?: number },
): SaliencyShift {
  const { budgetRatio, normalise, firstTokens = Math.floor(map.keys / 2) } = options;
  const full = accumulateAttention(map);
  const first = windowAttention(map, { size: firstTokens });
  const kept = firstKeptTokens(normalise === "rows" ? perRow(first) : first, budgetRatio);
  const dropped = accumulateAfterDrop(map, { firstTokens, kept });
  return compareViews(full, dropped, options);
}

/**
 * Chooses the tokens that the first compression keeps: the top floor(tau * h) of the first h.
 *
 * @param saliency Accumulated attention of the first tokens over their own rows.
 * @param budgetRatio Share of tokens to keep, in (0, 1].
 * @returns Kept positions, ascending.
 * @throws {RequirementError} If the budget lies outside (0, 1] or leaves no token.
 */
export function firstKeptTokens(saliency: ArrayLike<number>, budgetRatio: number): Uint32Array {
  return salientTokens(saliency, salientBudget(saliency.length, budgetRatio));
}

/**
 * Sums the attention that each token receives if later rows see only the kept tokens and each other.
 *
 * @param map Full causal map, queries = keys.
 * @param options What was dropped and when.
 * @returns Attention received after the drop, [keys]; -1 for dropped tokens, so that none is ever salient.
 */
export function accumulateAfterDrop(map: AttentionMap, options: DropOptions): Float32Array {
  const { firstTokens } = options;
  const { keys, values } = map;
  checkLength("measure saliency shift", "queries", { required: keys, current: map.queries });
  checkInteger("measure saliency shift", "firstTokens", { value: firstTokens, min: 1, max: keys });
  const isVisible = visibleTokens(keys, options);
  const first = windowAttention(map, { size: firstTokens });
  const sums = Float64Array.from(isVisible, (visible, key) => visible ? first[key] ?? 0 : -1);
  for (let query = firstTokens; query < keys; query++) {
    const row = values.subarray(query * keys, (query + 1) * keys);
    let mass = 0;
    for (let key = 0; key <= query; key++) if (isVisible[key]) mass += row[key]!;
    if (mass === 0) continue;
    for (let key = 0; key <= query; key++) if (isVisible[key]) sums[key]! += row[key]! / mass;
  }
  return Float32Array.from(sums);
}

/**
 * Adds the attention measured by a continued forward pass to that of the first half.
 *
 * @param firstHalf Accumulated attention of the first tokens over their own rows, [firstTokens].
 * @param secondHalf Column sums over the later rows, [tokens].
 * @param options What was dropped and when.
 * @returns Attention received after the drop, [tokens]; -1 for dropped tokens.
 */
export function mergeDropSaliency(
  firstHalf: ArrayLike<number>,
  secondHalf: ArrayLike<number>,
  options: DropOptions,
): Float32Array {
  const isVisible = visibleTokens(secondHalf.length, options);
  checkLength("measure saliency shift", "firstHalf", {
    required: options.firstTokens,
    current: firstHalf.length,
  });
  return Float32Array.from(
    isVisible,
    (visible, key) => visible ? secondHalf[key]! + (firstHalf[key] ?? 0) : -1,
  );
}

/**
 * Compares the salient sets of two views of the same tokens.
 *
 * @param full Accumulated attention with the full cache, [tokens].
 * @param dropped Accumulated attention after the drop, [tokens], -1 for dropped tokens.
 * @param options Size of the sets.
 * @returns Both sets and their similarity.
 * @throws {RequirementError} If the views have different lengths.
 */
export function compareViews(
  full: ArrayLike<number>,
  dropped: ArrayLike<number>,
  options: SalientOptions,
): SaliencyShift {
  checkLength("measure saliency shift", "the dropped view", {
    required: full.length,
    current: dropped.length,
  });
  const count = salientBudget(full.length, options.budgetRatio);
  const view = (sums: ArrayLike<number>) =>
    salientTokens(options.normalise === "rows" ? perRow(sums) : sums, count);
  const fullView = view(full);
  const droppedView = view(dropped);
  const jaccard = jaccardSimilarity(fullView, droppedView);
  return { shift: 1 - jaccard, jaccard, fullView, droppedView };
}

/**
 * Returns the Jaccard similarity that random sets of this size would have, for many tokens.
 *
 * @param budgetRatio Share of tokens in each set, in (0, 1].
 * @returns tau / (2 - tau).
 */
export function randomJaccard(budgetRatio: number): number {
  salientBudget(Number.MAX_SAFE_INTEGER, budgetRatio);
  return budgetRatio / (2 - budgetRatio);
}

function salientBudget(tokens: number, budgetRatio: number): number {
  if (!(budgetRatio > 0 && budgetRatio <= 1)) {
    throw new RequirementError({
      action: "measure saliency shift",
      requirement: "budgetRatio must lie in (0, 1]",
      current: budgetRatio,
    });
  }
  const count = shareOfTokens(budgetRatio, tokens);
  checkInteger("measure saliency shift", "salient tokens", { value: count, min: 1 });
  return count;
}

function visibleTokens(tokens: number, options: DropOptions): Uint8Array {
  const { firstTokens, kept } = options;
  const isVisible = new Uint8Array(tokens).fill(1, firstTokens);
  for (let index = 0; index < kept.length; index++) {
    const value = kept[index]!;
    checkInteger("measure saliency shift", "kept", { value, min: 0, max: firstTokens - 1 });
    isVisible[value] = 1;
  }
  return isVisible;
}
