/**
 * Logits on their way to the host, and checks of what goes into a model and comes out.
 *
 * @module
 */

import { checkInteger, GpuError } from "../../core/check.ts";
import type { ForwardState } from "../../models/forward/forward.ts";

/**
 * Reads the logits that were computed last.
 *
 * @param state Model and buffers.
 * @param rows How many rows.
 * @returns Logits, [rows, vocabulary].
 * @throws {GpuError} If one is not finite.
 */
export async function readLogits(state: ForwardState, rows: number): Promise<Float32Array> {
  const { config: { vocabulary }, device, workspace: { strides, logits } } = state;
  const padded = new Float32Array(await device.read(logits, 0, 4 * rows * strides.logits));
  const values = new Float32Array(rows * vocabulary);
  for (let row = 0; row < rows; row++) {
    const from = row * strides.logits;
    values.set(padded.subarray(from, from + vocabulary), row * vocabulary);
  }
  checkFinite("logits", values);
  return values;
}

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
