/**
 * Keys and values of some tokens of a sequence, copied out of a session's cache and back into one.
 *
 * @module
 */

import { headBytes, type LayerCache, layerSlots } from "../../cache/full_cache.ts";
import type { BufferCopy, Command, Device, DeviceBuffer } from "../../gpu/device.ts";
import type { ForwardState } from "../../models/forward/forward.ts";
import { copyCommand } from "./commands.ts";

/** Adjacent tokens; none if both are equal. */
export interface TokenRange {
  /** Position of the first one. */
  readonly from: number;
  /** Position after the last one. */
  readonly to: number;
}

/** Tokens whose slots are adjacent, too. */
interface SlotRange extends TokenRange {
  /** Slot of the first one. */
  readonly slot: number;
}

/**
 * Splits tokens where the slots of a layer begin again.
 *
 * @param range At most as many tokens as the layer has slots.
 * @param slots Slots of each of its KV heads.
 * @returns One or two ranges; none of no tokens.
 */
export function slotRanges({ from, to }: TokenRange, slots: number): SlotRange[] {
  if (from >= to) return [];
  const end = Math.min(to, (Math.floor(from / slots) + 1) * slots);
  return [{ from, to: end, slot: from % slots }, ...slotRanges({ from: end, to }, slots)];
}

/** Tokens of each layer on the device. Disposing it frees them. */
export class SavedTokens implements Disposable {
  /** Tokens of each layer. */
  readonly ranges: readonly TokenRange[];
  /** Keys, then values, of each layer, [kvHeads, tokens, headDim]; absent where there are none. */
  readonly #layers: readonly (DeviceBuffer | undefined)[];

  private constructor(
    ranges: readonly TokenRange[],
    layers: readonly (DeviceBuffer | undefined)[],
  ) {
    this.ranges = ranges;
    this.#layers = layers;
  }

  /**
   * Copies tokens out.
   *
   * @param state Where the cache is.
   * @param sequence Which sequence.
   * @param ranges Tokens of each layer, which it must hold.
   * @throws {GpuError} If the device has too little memory.
   */
  static async save(
    { device, cache }: Pick<ForwardState, "device" | "cache">,
    sequence: number,
    ranges: readonly TokenRange[],
  ): Promise<SavedTokens> {
    using stack = new DisposableStack();
    const { keys, values } = headBytes(cache.shape);
    const layers = ranges.map(({ from, to }, layer) => {
      const bytes = cache.shape.kvHeads * (to - from) * (keys + values);
      if (bytes === 0) return undefined;
      return stack.use(device.createBuffer(`saved keys and values of layer ${layer}`, bytes));
    });
    const saved = new SavedTokens(ranges, layers);
    await run(device, saved.#copies(cache, { sequence, ranges, isSaved: true }));
    stack.move();
    return saved;
  }

  /** Bytes on the device. */
  get byteLength(): number {
    return this.#layers.reduce((sum, buffer) => sum + (buffer?.byteLength ?? 0), 0);
  }

  /**
   * Prepares to put tokens back.
   *
   * @param cache A cache of the same model.
   * @param sequence Which sequence.
   * @returns What copies the newest tokens of each layer, as many as it has slots for, and which these are.
   */
  restoring(
    cache: ForwardState["cache"],
    sequence: number,
  ): { readonly commands: Command[]; readonly ranges: readonly TokenRange[] } {
    const ranges = this.ranges.map(({ from, to }, layer) => ({
      from: Math.max(from, to - layerSlots(cache.shape, layer)),
      to,
    }));
    return { commands: this.#copies(cache, { sequence, ranges, isSaved: false }), ranges };
  }

  /** Frees them. */
  [Symbol.dispose](): void {
    for (const layer of this.#layers) layer?.[Symbol.dispose]();
  }

  /** Copies between the slots of a cache and the saved layers. */
  #copies(
    { layers, shape }: ForwardState["cache"],
    { sequence, ranges, isSaved }: {
      readonly sequence: number;
      readonly ranges: readonly TokenRange[];
      readonly isSaved: boolean;
    },
  ): BufferCopy[] {
    const bytes = headBytes(shape);
    return ranges.flatMap((range, layer) => {
      const far = this.#layers[layer]!;
      const { from, to } = this.ranges[layer]!;
      const slots = layerSlots(shape, layer);
      return slotRanges(range, slots).flatMap((part) =>
        Array.from(
          { length: shape.kvHeads },
          (_, kvHead) =>
            kindsOf(layers[layer]!).map((kind) => {
              const row = (sequence * shape.kvHeads + kvHead) * slots + part.slot;
              const before = kind === "keys" ? 0 : shape.kvHeads * (to - from) * bytes.keys;
              const place = before + (kvHead * (to - from) + part.from - from) * bytes[kind];
              const near = layers[layer]![kind];
              const count = (part.to - part.from) * bytes[kind];
              return isSaved
                ? copyCommand(near, far, count, { from: row * bytes[kind], to: place })
                : copyCommand(far, near, count, { from: place, to: row * bytes[kind] });
            }),
        ).flat()
      );
    });
  }
}

/** What a layer holds: keys alone where its values are these. */
function kindsOf({ keys, values }: LayerCache): readonly ("keys" | "values")[] {
  return keys === values ? ["keys"] : ["keys", "values"];
}

async function run(device: Device, commands: readonly Command[]): Promise<void> {
  if (commands.length === 0) return;
  using recording = await device.record("tokens out of a cache", commands);
  device.submit(recording);
  await device.finished();
}
