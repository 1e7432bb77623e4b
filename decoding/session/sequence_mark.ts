/**
 * A way back to what a sequence was, before further tokens overwrite the oldest of layers with a window.
 *
 * @module
 */

import type { ForwardState } from "../../models/forward/forward.ts";
import type { HeldTokens } from "./held_tokens.ts";
import { SavedTokens } from "./saved_tokens.ts";

/** A sequence as it was; disposing it frees what was copied. */
export interface SequenceMark extends Disposable {
  /** Puts the sequence back, as often as needed. */
  undo(): void;
}

/**
 * Copies what further tokens overwrite of layers that hold only the newest.
 *
 * @param state Model and buffers.
 * @param held Tokens that these layers hold.
 * @param part Which sequence, its tokens, and how many may follow.
 * @returns Puts the copies back; undefined if nothing of use is overwritten.
 * @throws {GpuError} If the device has too little memory.
 */
export async function keepWindows(
  state: ForwardState,
  held: HeldTokens,
  { sequence, length, further }: {
    readonly sequence: number;
    readonly length: number;
    readonly further: number;
  },
): Promise<SequenceMark | undefined> {
  const { device, cache } = state;
  const ranges = held.endangered(sequence, length, further);
  if (ranges.every(({ from, to }) => from === to)) return undefined;
  using stack = new DisposableStack();
  const saved = stack.use(await SavedTokens.save(state, sequence, ranges));
  const { commands } = saved.restoring(cache, sequence);
  const back = stack.use(await device.record("tokens back into a cache", commands));
  const owned = stack.move();
  return {
    undo: () => {
      device.submit(back);
      held.putBack(sequence, ranges);
    },
    [Symbol.dispose]: () => owned.dispose(),
  };
}
