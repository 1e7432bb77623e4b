/**
 * Copies of a sequence: the same prompt, run once.
 *
 * @module
 */

import type { ForwardState } from "../../models/forward/forward.ts";
import { copyCommand } from "./commands.ts";

/**
 * Copies the keys, values and tokens of a sequence to others.
 *
 * @param state Model and buffers.
 * @param sequence The sequence to copy.
 * @param targets Sequences that it is copied to; not itself.
 */
export async function forkCache(
  state: ForwardState,
  sequence: number,
  targets: readonly number[],
): Promise<void> {
  if (targets.length === 0) return;
  const { device, cache, workspace } = state;
  const { sequences } = workspace.shape;
  const buffers = [...cache.layers.flatMap(({ keys, values }) => [keys, values]), workspace.tokens];
  const largest = Math.max(...buffers.map(({ byteLength }) => byteLength / sequences));
  // A buffer cannot be copied to itself.
  using between = device.createBuffer("sequence to copy", largest);
  const commands = buffers.flatMap((buffer) => {
    const byteLength = buffer.byteLength / sequences;
    return [
      copyCommand(buffer, between, byteLength, { from: byteLength * sequence }),
      ...targets.map((target) =>
        copyCommand(between, buffer, byteLength, { to: byteLength * target })
      ),
    ];
  });
  using recording = await device.record("copies of a sequence", commands);
  device.submit(recording);
  await device.finished();
}
