/**
 * Bounds of the keys of pages of all layers on the device.
 *
 * @see {@link https://arxiv.org/abs/2406.10774 | Quest}
 * @module
 */

import { pageBoundsCommand } from "../../kernels/page_bounds.ts";
import { pageScoresCommand } from "../../kernels/page_scores.ts";
import { attentionShape, type ForwardState } from "../../models/forward/forward.ts";
import type { DeviceIndex, IndexSizes } from "./key_index.ts";

/**
 * Allocates the bounds of all layers.
 *
 * @param forward Model.
 * @param index Tokens of a page.
 * @param sizes Sequences and capacity.
 * @throws {GpuError} If the device has too little memory.
 */
export function createPageIndex(
  { device, config }: ForwardState,
  { pageTokens }: { readonly pageTokens: number },
  { sequences, capacity }: IndexSizes,
): DeviceIndex {
  const { headDim, kvHeads, queryHeads, layers } = config;
  const bytes = 4 * headDim * sequences * kvHeads * Math.ceil(capacity / pageTokens);
  using stack = new DisposableStack();
  const kept = Array.from(
    { length: layers },
    (_, layer) => stack.use(device.createBuffer(`bounds of keys of layer ${layer}`, bytes)),
  );
  const size = { headDim, pageTokens, kvHeads, capacity };
  const owned = stack.move();
  return {
    byteLength: layers * bytes,
    build({ cache }, layer, { tokens }, state) {
      const { keys } = cache.layers[layer]!;
      const { keyFormat } = cache.shape;
      const shape = { ...size, keyFormat, sequences: 1, rowsPerSequence: tokens };
      return [pageBoundsCommand({ state, keys, bounds: kept[layer]! }, shape)];
    },
    score(forward, layer, rows) {
      const { workspace: { state, queryKeyValue: qkv }, cache } = forward;
      const { keys, write } = cache.layers[layer]!;
      const step = { sequences, rowsPerSequence: 1 };
      const { scale, softcap, window, stride } = attentionShape(forward, step, layer);
      const shape = { ...size, ...step, keyFormat: cache.shape.keyFormat, queryHeads };
      const buffers = { state, keys, qkv, rows, bounds: kept[layer]! };
      const factor = softcap === undefined ? scale! * Math.LOG2E : scale! / softcap;
      return [
        pageBoundsCommand(buffers, { ...shape, write }),
        pageScoresCommand(buffers, { ...shape, stride, softcap, window, scale: factor }),
      ];
    },
    [Symbol.dispose]: () => owned.dispose(),
  };
}
