/**
 * Which tokens the layers of a session still hold, where those with a window hold only the newest.
 *
 * @see docs/method.md, "Layers with a window"
 * @module
 */

import { type CacheShape, layerSlots } from "../../cache/full_cache.ts";
import type { ModelConfig } from "../../models/config.ts";
import { layerWindows } from "../../models/layer_windows.ts";
import type { TokenRange } from "./saved_tokens.ts";

/** Oldest tokens of each sequence and layer. */
export class HeldTokens {
  readonly #shape: CacheShape;
  readonly #windows: readonly (number | undefined)[];
  /** First token that a layer still holds, [sequences][layers]. */
  readonly #oldest: number[][];

  /**
   * Starts with empty sequences.
   *
   * @param shape Sizes of the cache.
   * @param config Windows of the model.
   */
  constructor(shape: CacheShape, config: Pick<ModelConfig, "layerAttention">) {
    this.#shape = shape;
    this.#windows = layerWindows(config);
    this.#oldest = Array.from(
      { length: shape.sequences },
      () => new Array<number>(shape.layers).fill(0),
    );
  }

  /** Notes that a sequence has been written up to a length, which only its first tokens can undo. */
  write(sequence: number, length: number): void {
    const oldest = this.#oldest[sequence]!;
    oldest.forEach((first, layer) => {
      const ring = this.#shape.rings?.[layer];
      // Rows of drafts may be counted past the end of a cache, which other layers do not have room for either.
      if (ring !== undefined) oldest[layer] = Math.max(first, length - ring);
    });
  }

  /** Notes that a sequence begins again. */
  clear(sequence: number): void {
    this.#oldest[sequence]!.fill(0);
  }

  /** Notes that a sequence holds what another one does. */
  copy(from: number, to: number): void {
    this.#oldest[to] = [...this.#oldest[from]!];
  }

  /** Notes that tokens that were overwritten, if any, are back. */
  putBack(sequence: number, ranges: readonly TokenRange[]): void {
    ranges.forEach(({ from, to }, layer) => {
      if (from < to) this.#oldest[sequence]![layer] = from;
    });
  }

  /** Notes that a sequence holds given tokens. */
  set(sequence: number, ranges: readonly TokenRange[]): void {
    this.#oldest[sequence] = ranges.map(({ from }) => from);
  }

  /** Tokens of a sequence that each layer holds. */
  ranges(sequence: number, length: number): TokenRange[] {
    return this.#oldest[sequence]!.map((from) => ({ from: Math.min(from, length), to: length }));
  }

  /** The least length, apart from 0, from which a sequence can continue as if nothing had followed. */
  shortest(sequence: number): number {
    return this.#oldest[sequence]!.reduce((most, oldest, layer) => {
      const window = this.#windows[layer] ?? Infinity;
      return oldest === 0 ? most : Math.max(most, oldest + window - 1);
    }, 0);
  }

  /**
   * Finds what some further tokens overwrite of a sequence that may have to continue without them.
   *
   * @param sequence Which sequence.
   * @param length Its tokens.
   * @param tokens How many may follow.
   * @returns Tokens of each layer: all that its window reaches if one of them is overwritten, otherwise none.
   */
  endangered(sequence: number, length: number, tokens: number): TokenRange[] {
    return this.#oldest[sequence]!.map((oldest, layer) => {
      const from = Math.max(oldest, length - (this.#windows[layer] ?? Infinity) + 1);
      const isLost = from < Math.min(length, length + tokens - layerSlots(this.#shape, layer));
      return isLost ? { from, to: length } : { from: length, to: length };
    });
  }
}
