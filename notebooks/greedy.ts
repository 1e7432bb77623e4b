/**
 * Continues a text with the full cache.
 *
 * @module
 */

import { Session } from "../decoding/session/session.ts";
import type { Model } from "../models/load.ts";

/**
 * Appends the likeliest tokens, up to an end token.
 *
 * @param model The model.
 * @param tokens Prompt.
 * @param steps Most tokens to append.
 * @returns Prompt and answer; an end token is the last of it.
 */
export async function continueGreedily(
  model: Model,
  tokens: readonly number[],
  steps: number,
): Promise<number[]> {
  const capacity = Math.min(model.config.contextLength, tokens.length + steps + 1);
  using session = new Session(model, { capacity });
  await session.prefill(tokens);
  const [first] = await session.nextTokens();
  const [rest] = await session.decode(Math.min(steps, capacity - tokens.length - 1));
  const answer = [first!, ...rest!].slice(0, steps);
  const end = answer.findIndex((id) => model.config.eosTokenIds.includes(id));
  return [...tokens, ...answer.slice(0, end < 0 ? undefined : end + 1)];
}
