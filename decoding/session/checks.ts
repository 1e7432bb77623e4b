/**
 * Checks shared by everything that feeds tokens to a model or takes logits from it.
 *
 * @module
 */

import { checkInteger, GpuError } from "../../core/check.ts";

/** What tokens must fit. */
export interface TokenLimits {
  /** Rows of the embedding. */
  readonly vocabulary: number;
  /** Tokens that still fit. */
  readonly room: number;
}

/**
 * Throws unless tokens can be appended to a sequence.
 *
 * @param tokens Token ids.
 * @param limits Vocabulary and room.
 * @throws {RangeError} If there are none, too many, or one is not in the vocabulary.
 */
export function checkTokens(tokens: readonly number[], limits: TokenLimits): void {
  checkInteger("run a model", "number of tokens", {
    value: tokens.length,
    min: 1,
    max: limits.room,
  });
  const outside = tokens.find((id) => !Number.isInteger(id) || id < 0 || id >= limits.vocabulary);
  if (outside === undefined) return;
  throw new RangeError(
    `Cannot run a model: token ids must be integers from 0 to ${
      limits.vocabulary - 1
    }: current value is ${outside}`,
  );
}

/**
 * Throws unless numbers from a model are finite.
 *
 * @param what What they are, as in "logits".
 * @param values The numbers.
 * @throws {GpuError} If one is NaN or infinite, which damaged weights or a faulty driver cause.
 */
export function checkFinite(what: string, values: Float32Array): void {
  const index = values.findIndex((value) => !Number.isFinite(value));
  if (index < 0) return;
  throw new GpuError(
    `Cannot run a model: ${what} must be finite: current value at index ${index} is ${
      values[index]
    }`,
  );
}

/**
 * Throws unless a model could choose.
 *
 * @param tokens What it chose.
 * @returns The token ids.
 * @throws {GpuError} If the logits of a choice were not finite.
 */
export function checkChosen(tokens: Uint32Array): number[] {
  if (!tokens.includes(0xffffffff)) return [...tokens];
  throw new GpuError(
    "Cannot choose a token: logits must be finite: current logits hold NaN, damaged weights or a faulty driver can cause it",
  );
}
