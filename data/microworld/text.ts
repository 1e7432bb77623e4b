/**
 * Micro-world items as text and as tokens of the embedded pair, and the grading of answers.
 *
 * @module
 */

import type { Segment } from "./parts.ts";

/** Token that starts every prompt and ends every answer of the embedded pair. */
export const DOCUMENT_TOKEN = 0;

/** An item as text. */
export interface ItemTexts {
  /** Name of its task. */
  readonly task: string;
  /** Prompt and answer in pieces with their loss weights. */
  readonly segments: readonly Segment[];
  /** Text that the model is given. */
  readonly prompt: string;
  /** Text that the model has to write. */
  readonly answer: string;
}

/**
 * Writes an item as one line of training text.
 *
 * @returns JSON: task and segments as [text, loss weight, 1 for the answer and 0 for the prompt].
 */
export function trainingLine({ task, segments }: Pick<ItemTexts, "task" | "segments">): string {
  const rows = segments.map(({ text, weight, isAnswer }) => [text, weight, isAnswer ? 1 : 0]);
  return JSON.stringify({ task, segments: rows });
}

/**
 * Encodes a prompt, with the begin token that the embedded pair needs.
 *
 * @param encode Encodes text; may put the begin token first or leave it out.
 * @returns Token ids, the first of them 0 and no other.
 */
export function promptIds(
  item: Pick<ItemTexts, "prompt">,
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
  item: Pick<ItemTexts, "answer">,
  encode: (text: string) => readonly number[],
): number[] {
  return [...withoutDocumentToken(encode(item.answer)), DOCUMENT_TOKEN];
}

/**
 * Grades an answer: exact match of the whole answer, its end included.
 *
 * @param output What the model wrote, without the end token.
 * @param hasEnded Whether the model ended the answer itself.
 */
export function isExactAnswer(
  item: Pick<ItemTexts, "answer">,
  output: string,
  hasEnded: boolean,
): boolean {
  return hasEnded && output === item.answer;
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
