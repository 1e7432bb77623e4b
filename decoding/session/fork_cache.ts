/**
 * Copies of a sequence: the same prompt, run once.
 *
 * @module
 */

import type { Command, DeviceBuffer } from "../../gpu/device.ts";
import type { ForwardState } from "../../models/forward/forward.ts";

/**
 * Copies the keys, values and tokens of a sequence to others.
 *
 * @param state Model and buffers.
 * @param sequence Where from.
 * @param targets Where to; none of them is `sequence`.
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
  // A copy must not have one buffer on both sides.
  using between = device.createBuffer("sequence to copy", largest);
  const commands = buffers.flatMap((buffer) => {
    const byteLength = buffer.byteLength / sequences;
    const copy = (
      source: DeviceBuffer,
      target: DeviceBuffer,
      offset: [number, number],
    ): Command => ({
      source,
      sourceOffset: offset[0],
      target,
      targetOffset: offset[1],
      byteLength,
    });
    return [
      copy(buffer, between, [byteLength * sequence, 0]),
      ...targets.map((target) => copy(between, buffer, [0, byteLength * target])),
    ];
  });
  using recording = await device.record("copies of a sequence", commands);
  device.submit(recording);
  await device.finished();
}
