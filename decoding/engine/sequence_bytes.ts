/**
 * How many sequences fit side by side.
 *
 * @module
 */

import { fullCacheBytes } from "../../cache/full_cache.ts";
import type { ModelPair } from "./types.ts";

/** Bytes that a batch may take beside the weights. */
const BATCH_BYTES = 2 ** 30;
/** More rows gain nothing: the weights are read once for all of them long before. */
const MOST_SEQUENCES = 64;

/**
 * Counts the sequences that a batch may have.
 *
 * @param pair Models; one helper sequence serves the whole batch.
 * @param capacity Tokens that fit per sequence.
 * @returns At least 1; caches, scores and logits of so many stay within a gibibyte and each within a binding.
 */
export function fittingSequences({ large, small }: ModelPair, capacity: number): number {
  const { layers, kvHeads, queryHeads, headDim, vocabulary } = large.config;
  const cache = fullCacheBytes({ layers, kvHeads, headDim, capacity, sequences: 1 });
  const sums = 4 * layers * queryHeads * capacity;
  const helperHeads = small ? small.config.layers * small.config.queryHeads : 0;
  const rows = 4 * helperHeads * capacity;
  const logits = 4 * vocabulary;
  const { maxBindingBytes } = large.device.info;
  const largest = Math.max(sums, rows, logits, cache / layers / 2);
  const fitting = Math.min(
    BATCH_BYTES / (cache + sums + 2 * rows + logits),
    maxBindingBytes / largest,
  );
  return Math.max(1, Math.min(MOST_SEQUENCES, Math.floor(fitting)));
}
