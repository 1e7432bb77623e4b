/**
 * Tokens and lengths of a session on the device, for those who run its steps.
 *
 * @module
 */

import { checkInteger } from "../../core/check.ts";
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
