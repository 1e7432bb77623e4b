/**
 * The last rows of every head's attention map, with a full cache.
 *
 * @module
 */

import { checkInteger } from "../../core/check.ts";
import type { Model } from "../../models/load.ts";
import { Session } from "./session.ts";

/** Which rows. */
export interface RowOptions {
  /** Position of the first row that is wanted. */
  readonly first: number;
  /** Stops between chunks. */
  readonly signal?: AbortSignal;
}

/**
 * Runs a text and captures the attention of its last rows.
 *
 * @param model Model to run.
 * @param tokens Token ids.
 * @param options First row, signal.
 * @returns Attention, [layers * queryHeads, tokens - first, tokens]; 0 behind the diagonal.
 * @throws {RangeError} If the first row is not in the text.
 */
export async function attentionRows(
  model: Model,
  tokens: readonly number[],
  options: RowOptions,
): Promise<Float32Array> {
  const { first, signal } = options;
  checkInteger("capture attention", "first row", { value: first, min: 0, max: tokens.length - 1 });
  const { layers, queryHeads } = model.config;
  const [rows, keys] = [tokens.length - first, tokens.length];
  const result = new Float32Array(layers * queryHeads * rows * keys);
  const all = Array.from({ length: queryHeads }, (_, head) => head);
  using session = new Session(model, { capacity: tokens.length, isExact: true });
  const quiet = { logits: "none", ...(signal && { signal }) } as const;
  if (first > 0) await session.prefill(tokens.slice(0, first), quiet);
  await session.prefill(tokens.slice(first), {
    ...quiet,
    heads: () => all,
    onMap({ layer, head, firstQuery, queries, keys: seen, values }) {
      const start = ((layer * queryHeads + head) * rows + firstQuery - first) * keys;
      for (let row = 0; row < queries; row++) {
        result.set(values.subarray(row * seen, (row + 1) * seen), start + row * keys);
      }
    },
  });
  return result;
}
