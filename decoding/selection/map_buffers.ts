/**
 * Fitted maps on the device: which small heads predict the row of each KV head of the large model, and their weights.
 *
 * @see docs/method.md, "Fitted maps"
 * @module
 */

import type { FittedMap } from "../../analysis/fitted_map.ts";
import type { Device, DeviceBuffer } from "../../gpu/device.ts";

/** Sizes of the fitted maps of a session. */
export interface MapSizes {
  /** KV heads of all layers of the large model, each of which gets a row. */
  readonly groups: number;
  /** Most small heads that predict one. */
  readonly width: number;
}

/** Buffers of fitted maps; without a map, weights are 0. */
export interface MapBuffers extends Disposable {
  /** Small sequence that each sequence reads, u32 [sequences]; 0 for those that read none. */
  readonly readers: DeviceBuffer;
  /** Flat small heads, u32 [sequences, groups, width]. */
  readonly sources: DeviceBuffer;
  /** Their weights, f32 [sequences, groups, width]. */
  readonly weights: DeviceBuffer;
}

/** Allocates the maps of some sequences, filled with zeros. */
export function createMapBuffers(
  device: Device,
  { groups, width, sequences }: MapSizes & { readonly sequences: number },
): MapBuffers {
  using stack = new DisposableStack();
  const words = (label: string, count: number) =>
    stack.use(device.createBuffer(label, 4 * count * sequences));
  const buffers = {
    readers: words("small sequences", 1),
    sources: words("heads of fitted maps", groups * width),
    weights: words("weights of fitted maps", groups * width),
  };
  const owned = stack.move();
  return { ...buffers, [Symbol.dispose]: () => owned.dispose() };
}

/** Writes the map of a sequence. */
export function writeMap(
  device: Device,
  buffers: MapBuffers,
  { index, map: { sources, weights } }: { readonly index: number; readonly map: FittedMap },
): void {
  device.write(buffers.sources, sources.byteLength * index, sources);
  device.write(buffers.weights, weights.byteLength * index, weights);
}
