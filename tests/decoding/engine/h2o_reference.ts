/**
 * H2O step by step on a whole model, by its rule in docs/method.md: masks instead of lists, one token at a time, sums
 * in float64.
 *
 * @module
 */

import { Session } from "../../../decoding/session/session.ts";
import type { Model } from "../../../models/load.ts";

/** State after the prompt or after a step. */
export interface ReferenceStep {
  /** Kept positions of each KV head, ascending, [layers * kvHeads]. */
  readonly kept: readonly (readonly number[])[];
  /** Attention that each token has received, [layers * queryHeads][tokens]; of a dropped one, until it was dropped. */
  readonly received: readonly (readonly number[])[];
}

/**
 * Decodes given tokens under H2O.
 *
 * @param model The model.
 * @param texts Tokens of the prompt, and those that follow.
 * @param options Share of the tokens that is kept, and those below which everything is.
 * @returns The state after the prompt, then after each token.
 */
export async function h2oReference(
  model: Model,
  texts: { readonly prompt: readonly number[]; readonly next: readonly number[] },
  options: { readonly ratio: number; readonly minimumTokens: number },
): Promise<ReferenceStep[]> {
  const { layers, queryHeads, kvHeads } = model.config;
  const group = queryHeads / kvHeads;
  const { prompt, next } = texts;
  using session = new Session(model, {
    capacity: prompt.length + next.length,
    masked: true,
    accumulate: true,
  });
  session.setVisible(() => true);
  await session.prefill(prompt, { logits: "none" });
  const received = rowsOf(await session.accumulated(), layers * queryHeads);
  let kept = Array.from({ length: layers * kvHeads }, () => prompt.map((_, token) => token));
  const groupScore = (headGroup: number, token: number) => {
    let sum = 0;
    for (let k = 0; k < group; k++) sum += received[headGroup * group + k]![token]!;
    return sum / group;
  };
  const evict = (tokens: number) => {
    if (tokens < options.minimumTokens) return;
    const capacity = Math.max(1, Math.floor(options.ratio * tokens + 1e-9));
    const recent = capacity - Math.floor(capacity / 2);
    kept = kept.map((own, headGroup) => {
      const left = [...own];
      while (left.length > capacity) {
        const old = left.filter((token) => token < tokens - recent);
        const least = Math.min(...old.map((token) => groupScore(headGroup, token)));
        left.splice(left.findIndex((token) => groupScore(headGroup, token) === least), 1);
      }
      return left;
    });
  };
  const state = () => ({ kept, received: received.map((row) => [...row]) });
  evict(prompt.length);
  const steps = [state()];
  for (const [index, token] of next.entries()) {
    const position = prompt.length + index;
    kept = kept.map((own) => [...own, position]);
    const seen = kept.map((own) => new Set(own));
    session.setVisible((head, key) => seen[Math.floor(head / group)]!.has(key));
    session.clearAccumulated();
    await session.prefill([token], { logits: "none" });
    rowsOf(await session.accumulated(), layers * queryHeads).forEach((row, head) =>
      row.forEach((value, key) => received[head]![key] = (received[head]![key] ?? 0) + value)
    );
    evict(position + 1);
    steps.push(state());
  }
  return steps;
}

function rowsOf(values: Float32Array, rows: number): number[][] {
  const columns = values.length / rows;
  return Array.from(
    { length: rows },
    (_, row) => [...values.subarray(row * columns, (row + 1) * columns)],
  );
}
