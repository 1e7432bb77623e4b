/**
 * Tokens and lengths of a session on the device, for those who run its steps.
 *
 * @module
 */

import { checkInteger, GpuError } from "../../core/check.ts";
import type { ForwardState } from "../../models/forward/forward.ts";

/** What a session shows of itself. */
export interface SessionView {
  /** Model and buffers. */
  readonly forward: ForwardState;
  /** Tokens of each sequence in the cache. */
  readonly lengths: readonly number[];
}

/**
 * Reads all tokens, with the chosen next ones behind each sequence.
 *
 * @param session Where they are.
 * @returns Token ids, [sequences, capacity].
 */
export async function readTokens({ forward }: SessionView): Promise<Uint32Array> {
  return new Uint32Array(await forward.device.read(forward.workspace.tokens));
}

/**
 * Tells the device how long each sequence is, starting a step of all of them.
 *
 * @param session Whose lengths.
 */
export function writeLengths({ forward, lengths }: SessionView): void {
  forward.device.write(forward.workspace.state, 0, Uint32Array.of(0, ...lengths));
}

/**
 * Puts other tokens in place of those that sequences would continue with.
 *
 * @param session Where they go.
 * @param tokens One per sequence.
 * @throws {RangeError} If there is not one per sequence, or one is not in the vocabulary.
 */
export function replaceNext({ forward, lengths }: SessionView, tokens: readonly number[]): void {
  const { device, workspace, config } = forward;
  const count = { value: tokens.length, min: lengths.length, max: lengths.length };
  checkInteger("force tokens", "number of tokens", count);
  tokens.forEach((value, sequence) => {
    checkInteger("force tokens", "token id", { value, min: 0, max: config.vocabulary - 1 });
    const place = sequence * workspace.shape.capacity + lengths[sequence]!;
    device.write(workspace.tokens, 4 * place, Uint32Array.of(value));
  });
}

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
