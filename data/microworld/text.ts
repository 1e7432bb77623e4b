/**
 * Micro-world items as text and as tokens of the embedded pair, and the grading of answers.
 *
 * @module
 */

/** Token that starts every prompt and ends every answer of the embedded pair. */
export const DOCUMENT_TOKEN = 0;

/**
 * Encodes a prompt, with the begin token that the embedded pair needs.
 *
 * @param encode Encodes text; may put the begin token first or leave it out.
 * @returns Token ids, the first of them 0 and no other.
 */
export function promptIds(
  item: { readonly prompt: string },
  encode: (text: string) => readonly number[],
): number[] {
  return [DOCUMENT_TOKEN, ...withoutDocumentToken(encode(item.prompt))];
}

/**
 * Encodes an answer, with the end token that the model must write after it.
 *
 * @param encode Encodes text; may put the begin token first or leave it out.
 * @returns Token ids, the last of them 0.
 */
export function answerIds(
  item: { readonly answer: string },
  encode: (text: string) => readonly number[],
): number[] {
  return [...withoutDocumentToken(encode(item.answer)), DOCUMENT_TOKEN];
}

/**
 * Counts the tokens of micro-world text as the embedded tokenizer does, one for each word.
 *
 * @returns Tokens, without begin and end.
 */
export function countTokens(text: string): number {
  return text.match(/ ?\d| ?[A-Za-z]+| ?[^\sA-Za-z\d]+|\s+/g)?.length ?? 0;
}

function withoutDocumentToken(ids: readonly number[]): readonly number[] {
  return ids[0] === DOCUMENT_TOKEN ? ids.slice(1) : ids;
}
