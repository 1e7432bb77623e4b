/**
 * Reads what attention taps have collected and sets what they hide.
 *
 * @module
 */

import { RequirementError } from "../../core/check.ts";
import type { LayerArrays } from "../../models/forward/taps.ts";
import type { ForwardState } from "../../models/forward/forward.ts";
import { checkFinite } from "./step_io.ts";

/**
 * Reads the attention that each token has received.
 *
 * @param state Model and buffers of a session.
 * @param part Which sequence, and how many tokens it has.
 * @returns Column sums, [layers * queryHeads, length].
 * @throws {RequirementError} If the session does not accumulate.
 * @throws {GpuError} If a sum is not finite.
 */
export async function readSums(
  state: ForwardState,
  { sequence, length }: { readonly sequence: number; readonly length: number },
): Promise<Float32Array> {
  const { config: { layers, queryHeads }, device, workspace: { shape } } = state;
  const sums = present(state.taps.sums, "read accumulated attention", "accumulate");
  const all = new Float32Array(await device.read(sums.buffer));
  const result = new Float32Array(layers * queryHeads * length);
  for (let head = 0; head < layers * queryHeads; head++) {
    const layer = Math.floor(head / queryHeads);
    const row = sequence * queryHeads + head % queryHeads;
    const first = layer * sums.layerWords + row * shape.capacity;
    result.set(all.subarray(first, first + length), head * length);
  }
  checkFinite("accumulated attention", result);
  return result;
}

/**
 * Sets all accumulated attention to zero.
 *
 * @param state Model and buffers of a session.
 * @throws {RequirementError} If the session does not accumulate.
 */
export function clearSums(state: ForwardState): void {
  const sums = present(state.taps.sums, "clear accumulated attention", "accumulate");
  state.device.write(sums.buffer, 0, new Uint8Array(sums.buffer.byteLength));
}

/**
 * Sets the attention that each token of the first sequence has received.
 *
 * @param state Model and buffers of a session.
 * @param values Column sums, [layers * queryHeads, tokens].
 * @throws {RequirementError} If the session does not accumulate.
 */
export function writeSums(state: ForwardState, values: Float32Array): void {
  const { config: { layers, queryHeads }, device, workspace: { shape } } = state;
  const sums = present(state.taps.sums, "set accumulated attention", "accumulate");
  const length = values.length / (layers * queryHeads);
  for (let head = 0; head < layers * queryHeads; head++) {
    const layer = Math.floor(head / queryHeads);
    const first = layer * sums.layerWords + head % queryHeads * shape.capacity;
    device.write(sums.buffer, 4 * first, values.slice(head * length, (head + 1) * length));
  }
}

/**
 * Restricts what each query head sees.
 *
 * @param state Model and buffers of a session.
 * @param isVisible Tells whether a flat query head may see a key position.
 * @throws {RequirementError} If the session is not masked.
 */
export function writeVisible(
  state: ForwardState,
  isVisible: (head: number, position: number) => boolean,
): void {
  const { config: { layers, queryHeads }, device, workspace: { shape } } = state;
  const visible = present(state.taps.visible, "set visible tokens", "masked");
  const bits = new Uint32Array(visible.buffer.byteLength / 4);
  for (let head = 0; head < layers * queryHeads; head++) {
    const layer = Math.floor(head / queryHeads);
    const first = layer * visible.layerWords + head % queryHeads * state.taps.visibleWords;
    for (let position = 0; position < shape.capacity; position++) {
      if (isVisible(head, position)) bits[first + (position >>> 5)]! |= 1 << (position & 31);
    }
  }
  device.write(visible.buffer, 0, bits);
}

/**
 * Restricts what all query heads of a layer see to some positions.
 *
 * @param state Model and buffers of a session.
 * @param layer The layer.
 * @param positions What they see.
 * @throws {RequirementError} If the session is not masked.
 */
export function writeVisibleLayer(
  { config: { queryHeads }, device, taps }: ForwardState,
  layer: number,
  positions: Uint32Array,
): void {
  const visible = present(taps.visible, "set visible tokens", "masked");
  const words = taps.visibleWords;
  const bits = new Uint32Array(queryHeads * words);
  for (const position of positions) bits[position >>> 5]! |= 1 << (position & 31);
  for (let head = 1; head < queryHeads; head++) bits.copyWithin(head * words, 0, words);
  device.write(visible.buffer, 4 * layer * visible.layerWords, bits);
}

function present(arrays: LayerArrays | undefined, action: string, option: string): LayerArrays {
  if (arrays) return arrays;
  throw new RequirementError({
    action,
    requirement: `the session must be started with ${option}`,
    current: false,
  });
}
