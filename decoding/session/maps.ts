/**
 * Attention maps of chosen heads, from scratch memory on the device to arrays on the host.
 *
 * @module
 */

import type { Device, DeviceBuffer } from "../../gpu/device.ts";
import type { MapTarget } from "../../models/forward/forward.ts";

/** Lists the query heads of a layer whose maps are captured, ascending. */
export type HeadSelection = (layer: number) => readonly number[];

/** Some rows of one head's attention map. */
export interface MapBlock {
  /** Layer of the head. */
  readonly layer: number;
  /** Query head. */
  readonly head: number;
  /** Position of the first row. */
  readonly firstQuery: number;
  /** Rows. */
  readonly queries: number;
  /** Columns: every key up to that of the last row. */
  readonly keys: number;
  /** Attention, [queries, keys]. */
  readonly values: Float32Array;
}

/** Scratch memory for maps, which grows to the largest request. Disposing it frees the memory. */
export class MapReader implements Disposable {
  readonly #device: Device;
  #buffer: DeviceBuffer | undefined;

  constructor(device: Device) {
    this.#device = device;
  }

  /**
   * Makes room for the maps of a step.
   *
   * @param heads Query heads.
   * @param size Rows of the step and keys that its last row sees.
   * @returns Target of the maps; nothing if there are no heads.
   */
  target(
    heads: readonly number[],
    size: { readonly rows: number; readonly keys: number },
  ): MapTarget | undefined {
    if (heads.length === 0) return undefined;
    const bytes = 4 * heads.length * size.rows * size.keys;
    if ((this.#buffer?.byteLength ?? 0) < bytes) {
      this.#buffer?.[Symbol.dispose]();
      this.#buffer = undefined;
      this.#buffer = this.#device.createBuffer("attention maps", bytes);
    }
    return { heads, buffer: this.#buffer!, stride: size.keys };
  }

  /**
   * Reads the maps of a step.
   *
   * @param maps Returned by `target`.
   * @param rows Layer, position of the first row, number of rows.
   * @returns One block per head.
   */
  async read(
    maps: MapTarget,
    rows: { readonly layer: number; readonly firstQuery: number; readonly queries: number },
  ): Promise<MapBlock[]> {
    const length = rows.queries * maps.stride;
    const bytes = await this.#device.read(maps.buffer, 0, 4 * length * maps.heads.length);
    return maps.heads.map((head, index) => ({
      ...rows,
      head,
      keys: maps.stride,
      values: new Float32Array(bytes, 4 * length * index, length),
    }));
  }

  /** Frees the scratch memory. */
  [Symbol.dispose](): void {
    this.#buffer?.[Symbol.dispose]();
  }
}
