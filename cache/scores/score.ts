/**
 * Scores: how one starts from a prompt, what each new token adds, and the saliency that tokens are ranked by.
 * They hold no state and never see a device; the decoder feeds them, from either model.
 *
 * @module
 */

import type { CountRequest } from "../budget.ts";
import type { QueryMoments } from "./query_moments.ts";

/**
 * What a score needs of each head. `sums`: the attention that each token of the prompt has received, then newest rows.
 * `rows`: the last rows of the prompt's attention, then newest rows. `keys`: each token's key as it is cached, after
 * rotation. `values`: its key and its value. `queries`: both, and the moments of the prompt's queries. `keys_and_rows`: keys,
 * and rows in steps of their own. `repetition`: the most attention that each token of the prompt receives where the prompt
 * is repeated after itself. `nothing`: nothing.
 */
export type ScoreInput =
  | "sums"
  | "rows"
  | "keys"
  | "values"
  | "queries"
  | "keys_and_rows"
  | "repetition"
  | "nothing";

/** What a score starts from, for one head or for heads that share a selection. */
export interface ScoreStart {
  /** Zeros for a number per token, [capacity]; may serve as the state and the saliency. */
  readonly room: Float32Array;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Number of the head, for scores that differ from head to head. */
  readonly head: number;
  /** Attention that each token has received, [promptTokens]; with `sums`, unless only the last rows count. */
  readonly sums?: Float32Array;
  /** Most attention that each token receives from a repetition of the prompt, [promptTokens]; with `repetition`. */
  readonly repeated?: Float32Array;
  /** Last rows of the prompt's attention, oldest first, [capacity] each. */
  readonly rows: readonly Float32Array[];
  /** Moments of the queries of each query head that reads these keys; with `queries`. */
  readonly queries?: readonly QueryMoments[];
}

/** What one token adds. */
export interface ScoreStep {
  /** Position of the token. */
  readonly token: number;
  /** Rows that count, for scores that read a window of the newest ones. */
  readonly rows: number;
  /** Attention of the token's row, [capacity]; entries of tokens that are not kept do not matter. With `sums` and rows. */
  readonly row?: Float32Array;
  /** Key, [headDim]; with `keys`, `values`, `queries`, `keys_and_rows`. */
  readonly key?: Float32Array;
  /** Value, [headDim]; with `values`, `queries`. */
  readonly value?: Float32Array;
}

/** What a ranking depends on. */
export interface ScoreView {
  /** Tokens of the sequence, the newest one included. */
  readonly tokens: number;
  /** Tokens that may be ranked, ascending; all that were added if left out. */
  readonly held?: Uint32Array;
  /** Rows that count, for scores that read a window of the newest ones. */
  readonly rows: number;
}

/** A way to score tokens. */
export interface Score<State = unknown> {
  /** Name in results. */
  readonly name: string;
  /** What it needs of each head. */
  readonly reads: ScoreInput;
  /** Whether scores depend on the prompt alone and no later token changes them; false if left out. */
  readonly isPromptOnly?: boolean;
  /** Factor on older rows at each step, for scores that are sums of rows; the device keeps those of the small model. */
  readonly decay?: number;
  /** Rows of attention that it reads at the end of the prompt and before each ranking; with rows. */
  readonly rows?: (request: CountRequest) => number;
  /** Position of the first query that is in the moments; 0 if left out. */
  readonly firstQuery?: number;
  /** Starts from a prompt. Keys and values of its tokens are added one by one. */
  start(prompt: ScoreStart): State;
  /** Adds a token; with `sums` and `rows` only tokens after the prompt. */
  add(state: State, step: ScoreStep): void;
  /** Returns the score of each token, [at least tokens]; larger is more salient. */
  saliency(state: State, view: ScoreView): Float32Array;
}

/**
 * Tells whether a score reads the last rows of the prompt's attention.
 *
 * @param score The score.
 * @returns Whether it does.
 */
export function readsLastRows({ reads }: Score): boolean {
  return reads === "rows" || reads === "keys_and_rows";
}

/**
 * Tells whether a score reads each step's row of attention.
 *
 * @param score The score.
 * @returns Whether it does.
 */
export function readsRows(score: Score): boolean {
  return (score.reads === "sums" || readsLastRows(score)) && !score.isPromptOnly;
}

/**
 * Tells whether a score reads each token's key, or key and value.
 *
 * @param score The score.
 * @returns Whether it does.
 */
export function readsVectors({ reads }: Score): boolean {
  return reads === "keys" || reads === "values" || reads === "queries" || reads === "keys_and_rows";
}
