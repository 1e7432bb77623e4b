/**
 * Answers one by one, each in a session of its own: what `answerAll` must equal.
 *
 * @module
 */

import { openSetting, type PolicySetting } from "../../../decoding/engine/settings.ts";
import type { ModelPair } from "../../../decoding/engine/types.ts";
import type { AnswerRequest } from "../../../decoding/text/answers.ts";
import { endTokensOf } from "../../../decoding/text/loop.ts";

/** Tokens of each turn's answer, and at the end the tokens of the whole text and the bytes that are kept. */
export async function answerAlone(
  pair: ModelPair,
  request: AnswerRequest,
  setting: PolicySetting,
): Promise<{ turns: number[][]; cachedTokens: number; bytes: { large: number; small: number } }> {
  const { prefix, turns: [first, ...others], maxTokens, compressAfter } = request;
  const given = prefix.length + [first!, ...others].flat().length;
  const capacity = given + maxTokens * request.turns.length;
  const endTokens = endTokensOf(pair.large);
  using session = openSetting(pair, setting, { sequences: 1, capacity });
  const turns: number[][] = [];
  const isSplit = compressAfter === "prefix";
  if (isSplit) await session.prefill(prefix);
  for (const turn of [isSplit ? first! : [...prefix, ...first!], ...others]) {
    const newest = turns.at(-1)?.at(-1);
    const isOpen = newest !== undefined && !endTokens.includes(newest);
    await session.prefill(isOpen ? [newest, ...turn] : turn);
    const tokens = await session.nextTokens();
    while (tokens.length < maxTokens && !endTokens.includes(tokens.at(-1)!)) {
      tokens.push((await session.step()).chosen[0]!);
    }
    turns.push(tokens);
  }
  const { largeCacheBytesIdeal: large, smallCacheBytesIdeal: small } = await session.memory();
  return { turns, cachedTokens: session.lengths[0]!, bytes: { large, small } };
}
