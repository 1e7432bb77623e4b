/**
 * Sequences outside of a session: copied out of one, and into another one of the same model.
 *
 * @module
 */

import type { ForwardState } from "../../models/forward/forward.ts";
import { SavedTokens, type TokenRange } from "./saved_tokens.ts";

/** Part of a session's state that a sequence is in. */
type SequenceState = Pick<ForwardState, "device" | "cache" | "workspace">;

/** Keys, values and tokens of a sequence, without room for more. Disposing it frees them. */
export class SavedSequence implements Disposable {
  /** Token ids, and the one that the sequence continues with, if it is known. */
  readonly tokens: Uint32Array<ArrayBuffer>;
  /** Tokens of the sequence; layers with a window may have lost the first of them. */
  readonly length: number;
  readonly #saved: SavedTokens;

  private constructor(length: number, tokens: Uint32Array<ArrayBuffer>, saved: SavedTokens) {
    this.length = length;
    this.tokens = tokens;
    this.#saved = saved;
  }

  /**
   * Copies a sequence out.
   *
   * @param state Model and buffers.
   * @param place Which sequence, its length, whether the token it continues with is known, and what each layer holds.
   * @throws {GpuError} If the device has too little memory.
   */
  static async save(
    state: SequenceState,
    place: {
      readonly sequence: number;
      readonly length: number;
      readonly hasNext: boolean;
      readonly ranges: readonly TokenRange[];
    },
  ): Promise<SavedSequence> {
    const { device, workspace } = state;
    const { sequence, length, hasNext, ranges } = place;
    const count = hasNext ? length + 1 : length;
    const first = 4 * sequence * workspace.shape.capacity;
    using stack = new DisposableStack();
    const saved = stack.use(await SavedTokens.save(state, sequence, ranges));
    const tokens = new Uint32Array(await device.read(workspace.tokens, first, 4 * count));
    stack.move();
    return new SavedSequence(length, tokens, saved);
  }

  /** Bytes on the device. */
  get byteLength(): number {
    return this.#saved.byteLength;
  }

  /**
   * Copies it into a sequence of a session, in place of what that holds.
   *
   * @returns What each layer holds then.
   */
  async restore(state: SequenceState, sequence: number): Promise<readonly TokenRange[]> {
    const { device, cache, workspace } = state;
    device.write(workspace.tokens, 4 * sequence * workspace.shape.capacity, this.tokens);
    const { commands, ranges } = this.#saved.restoring(cache, sequence);
    if (commands.length === 0) return ranges;
    using recording = await device.record("a sequence into a cache", commands);
    device.submit(recording);
    await device.finished();
    return ranges;
  }

  /** Frees it. */
  [Symbol.dispose](): void {
    this.#saved[Symbol.dispose]();
  }
}
