/**
 * Text of single tokens, as labels and words need it.
 *
 * @module
 */

import { createTextStream, type Tokenizer } from "./tokenizer.ts";

/**
 * Decodes tokens one by one, so that their texts together are the decoded sequence.
 *
 * @param tokenizer Tokenizer that made them.
 * @param tokens Token ids.
 * @returns One text per token: null for a special token, and a character spread over several tokens belongs to its last.
 */
export function tokenTexts(tokenizer: Tokenizer, tokens: readonly number[]): (string | null)[] {
  const stream = createTextStream(tokenizer);
  const texts = tokens.map((id) => tokenizer.isSpecial(id) ? null : stream.push(id));
  const last = texts.findLastIndex((text) => text !== null);
  if (last >= 0) texts[last] += stream.end();
  return texts;
}
