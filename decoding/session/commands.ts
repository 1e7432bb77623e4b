/**
 * Commands that several kinds of steps share.
 *
 * @module
 */

import type { BufferCopy, Command, DeviceBuffer } from "../../gpu/device.ts";
import type { ForwardState, LayerOptions, StepShape } from "../../models/forward/forward.ts";
import type { AttentionTaps } from "../../models/forward/taps.ts";
import { embeddingStep, layerStep } from "../../models/forward/transformer.ts";

/** Taps of steps that sum and hide nothing. */
export const NO_TAPS: AttentionTaps = { visibleWords: 0, [Symbol.dispose]: () => {} };

/**
 * Embedding and all layers of a step.
 *
 * @param state Model and buffers.
 * @param step Rows of the step.
 * @param optionsOf What differs from plain causal attention in a layer; nothing if left out.
 * @returns Commands that write the residual stream.
 */
export function layersStep(
  state: ForwardState,
  step: StepShape,
  optionsOf?: (layer: number) => Omit<LayerOptions, "layer">,
): Command[] {
  const commands = embeddingStep(state, step);
  for (let layer = 0; layer < state.config.layers; layer++) {
    commands.push(...layerStep(state, step, { layer, ...optionsOf?.(layer) }));
  }
  return commands;
}

/**
 * Copies a part of one buffer to another.
 *
 * @param source Where from.
 * @param target Where to.
 * @param byteLength Bytes copied.
 * @param offsets First byte read and first byte written; 0 if left out.
 * @returns The command.
 */
export function copyCommand(
  source: DeviceBuffer,
  target: DeviceBuffer,
  byteLength: number,
  { from = 0, to = 0 }: { readonly from?: number; readonly to?: number } = {},
): BufferCopy {
  return { source, sourceOffset: from, target, targetOffset: to, byteLength };
}
