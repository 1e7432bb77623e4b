/**
 * Logits from the device.
 *
 * @module
 */

import type { ForwardState } from "../../models/forward/forward.ts";
import { checkFinite } from "./checks.ts";

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
