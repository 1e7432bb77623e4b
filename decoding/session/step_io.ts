/**
 * Reading of logits, and checks of a model's inputs and outputs.
 *
 * @module
 */

import { checkInteger, GpuError, RequirementError } from "../../core/check.ts";
import type { ForwardState } from "../../models/forward/forward.ts";

/**
 * Reads the newest logits.
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

/**
 * Throws unless tokens can be appended to a sequence.
 *
 * @param tokens Token ids.
 * @param limits Rows of the embedding, and tokens that still fit.
 * @throws {RequirementError} If there are none, too many, or one is not in the vocabulary.
 */
export function checkTokens(
  tokens: readonly number[],
  { vocabulary, room }: { readonly vocabulary: number; readonly room: number },
): void {
  if (room <= 0) {
    throw new RequirementError({
      action: "run a model",
      requirement: "the cache must have room for a token",
      state: "room is 0",
    });
  }
  checkInteger("run a model", "number of tokens", { value: tokens.length, min: 1, max: room });
  const max = vocabulary - 1;
  const outside = tokens.find((id) => !Number.isInteger(id) || id < 0 || id > max);
  if (outside === undefined) return;
  throw new RequirementError({
    action: "run a model",
    requirement: `token ids must be integers from 0 to ${max}`,
    current: outside,
  });
}

/**
 * Throws unless numbers from a model are finite.
 *
 * @param what Their name, as in "logits".
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
 * Throws if the device marked a chosen token as invalid.
 *
 * @param tokens Chosen tokens.
 * @returns The token ids.
 * @throws {GpuError} If the logits of a choice were not finite.
 */
export function checkChosen(tokens: Uint32Array): number[] {
  if (!tokens.includes(0xffffffff)) return [...tokens];
  throw new GpuError(
    "Cannot choose a token: logits must be finite: current logits hold NaN, damaged weights or a faulty driver can cause it",
  );
}
