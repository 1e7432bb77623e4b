/**
 * What is kept of an answer: a line of JSON that says what decided it, what was written and how it was graded.
 *
 * @module
 */

import { contentHash } from "../core/hash.ts";
import type { JsonValue } from "../core/json.ts";
import type { TaskGrade } from "../data/task.ts";
import type { AnswerEnd } from "../decoding/text/answers.ts";
import { type EvaluationSetting, rowSetting } from "./settings.ts";

/** Version of the lines. */
export const ROW_SCHEMA = 1;

/** What an answer or a refusal is about. */
export interface RowPlace {
  /** Version of this layout. */
  readonly schema: 1;
  /** Hash of all that decides the answer; see `answerId`. */
  readonly id: string;
  /** Name of the task. */
  readonly task: string;
  /** Id of the item within the task. */
  readonly item: string;
  /** Group of the item. */
  readonly group: string;
  /** Hash of the token ids, stops and limits. */
  readonly prompt: string;
  /** Tokens of the first turn. */
  readonly promptTokens: number;
}

/** The answer to a turn. */
export interface AnswerText {
  /** What was written, without the text at which it stopped. */
  readonly text: string;
  /** Tokens, including one that ended it. */
  readonly tokens: number;
  /** Why it ended. */
  readonly end: AnswerEnd;
}

/** An answer. */
export interface AnswerRow extends RowPlace, EvaluationSetting {
  /** Models that decided it, by hash: the large one, and the small one if the policy asks it. */
  readonly models: { readonly large: string; readonly small?: string };
  /** Hash of the code that ran them. */
  readonly code: string;
  /** Back end that computed it. */
  readonly device: string;
  /** What the back end ran on, in the driver's words. */
  readonly adapter: string;
  /** Driver and its version, or `unknown version`; absent where none computed it. */
  readonly driver?: string;
  /** Answer to each turn. */
  readonly answers: readonly AnswerText[];
  /** How it was graded; null while the answer with the full cache is missing, if the task compares with that. */
  readonly grade: TaskGrade | null;
  /** What it was compared with. */
  readonly reference: JsonValue;
  /** What else is known of the item. */
  readonly facts?: Readonly<Record<string, JsonValue>>;
  /** Tokens of prompts, turns and answers that a full cache would hold at the end; absent in older lines. */
  readonly cachedTokens?: number;
  /** Bytes of keys and values at the end, by counting the tokens kept. */
  readonly bytes: { readonly large: number; readonly small: number; readonly host: number };
  /** Its share of the time that passed. */
  readonly seconds: { readonly prompt: number; readonly decode: number };
}

/** An item that does not fit the context, and therefore has no answer. */
export interface SkippedRow extends RowPlace {
  /** Tokens that it would take with its answers, and tokens there were. */
  readonly skipped: { readonly tokens: number; readonly context: number };
}

/** A line of a file of answers. */
export type Row = AnswerRow | SkippedRow;

/** What decides an answer. */
export type AnswerIdentity =
  & Pick<AnswerRow, "task" | "item" | "prompt" | "models">
  & EvaluationSetting;

/**
 * Identity of an answer whatever code computed it, which says whether two answers are to the same question.
 *
 * @returns 64 hexadecimal digits.
 */
export function answerKey(answer: AnswerIdentity): string {
  const { task, item, prompt, models } = answer;
  const { pairing: _, ...setting } = rowSetting(answer); // models say who takes part
  return contentHash({ task, item, prompt, models: { ...models }, ...setting });
}

/**
 * Identity of an answer. The device is no part of it, so that many machines may share the work.
 *
 * @param code Hash of the code.
 * @returns 64 hexadecimal digits.
 */
export function answerId(key: string, code: string): string {
  return contentHash({ key, code });
}

/** Whether a line is an answer. */
export function isAnswer(row: Row): row is AnswerRow {
  return !("skipped" in row);
}
