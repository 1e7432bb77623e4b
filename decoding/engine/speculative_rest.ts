/**
 * The rest of the tokens under each row of a block (D-31). Each row has a sum of values of its own, which ends with its token,
 * so that the sums of drafts that are not accepted leave nothing behind. Rows that share a selection share its rest as well:
 * each sees the block up to itself, so that what is left of the tokens before the block is the same for all.
 *
 * @see docs/method.md, "Drafts"
 * @module
 */

import type { BufferWindow, Command, Device, DeviceBuffer } from "../../gpu/device.ts";
import { REST_HEADER, restValuesCommand, ROW_MASS } from "../../kernels/rest_values.ts";
import { selectedSplitBytes } from "../../kernels/selected_attention.ts";
import { sumValuesCommand } from "../../kernels/sum_values.ts";
import type { ForwardState } from "../../models/forward/forward.ts";
import { copyCommand } from "../session/commands.ts";
import type { PolicyShape } from "../selection/buffers.ts";
import type { RestOfTokens } from "../selection/rest.ts";

/** Bytes from one row's range to the next: where a binding may begin. */
const RANGE_BYTES = 256;

/** What the rest of a block's rows needs. */
interface BlockRestOptions {
  /** The large model. */
  readonly forward: ForwardState;
  /** The sequence's own rest, whose sums go on after a block. */
  readonly rest: RestOfTokens;
  /** Sizes of the policy. */
  readonly shape: PolicyShape;
  /** Most rows of a block. */
  readonly rows: number;
  /** Whether all rows have one selection, which ends with the block. */
  readonly isShared: boolean;
}

/** Sums and means of the rows of a block. Disposing it frees its buffers. */
export class RestOfBlock implements Disposable {
  /** Means of one layer at a time, f32 [selections, groups of the layer, REST_HEADER + headDim]. */
  readonly means: DeviceBuffer;
  /** Scratch with room for a split of every list. */
  readonly partial: DeviceBuffer;
  /** Sums of the values up to each row's token, f32 [layers, rows, kvHeads, headDim]. */
  readonly #sums: DeviceBuffer;
  /** The tokens that each row adds to the sums of the row before. */
  readonly #ranges: DeviceBuffer;
  /** Attention to the rest, f32 [rows, groups]: a row of attention tells all of it. */
  readonly #masses: DeviceBuffer;
  readonly #options: BlockRestOptions;
  readonly #device: Device;
  readonly #owned: DisposableStack;
  /** Tokens whose values are in the sequence's sums. */
  #summed = 0;

  /**
   * Makes room.
   *
   * @throws {GpuError} If the device has too little memory.
   */
  constructor(options: BlockRestOptions) {
    const { forward: { device, config, workspace }, shape: { groups }, rows } = options;
    const { layers, kvHeads, headDim } = config;
    using stack = new DisposableStack();
    const words = (label: string, count: number) =>
      stack.use(device.createBuffer(`${label} of a block`, 4 * count));
    this.#options = options;
    this.#device = device;
    this.#sums = words("sums of values", layers * rows * kvHeads * headDim);
    this.means = words("mean values of the rest", rows * groups.perLayer * (REST_HEADER + headDim));
    this.#ranges = words("tokens to sum", rows * RANGE_BYTES / 4);
    this.#masses = words("attention to the rest", rows * groups.total);
    device.write(this.#masses, 0, new Float32Array(rows * groups.total).fill(ROW_MASS));
    const bytes = selectedSplitBytes(config, rows);
    this.partial = workspace.partial && workspace.partial.byteLength >= bytes
      ? workspace.partial
      : words("partial attention with the rest", bytes / 4);
    this.#owned = stack.move();
  }

  /** Bytes of sums and means. */
  get byteLength(): number {
    return this.#sums.byteLength + this.means.byteLength;
  }

  /** Starts the sums again at the next block, since the sequence was continued by other means. */
  forget(): void {
    this.#summed = 0;
  }

  /**
   * Says which tokens the rows of a block add to the sums.
   *
   * @param length Tokens before the block.
   */
  prepare(length: number): void {
    const { rows } = this.#options;
    for (let row = 0; row < rows; row++) {
      const range = Uint32Array.of(row === 0 ? this.#summed : length + row, length + row + 1);
      this.#device.write(this.#ranges, RANGE_BYTES * row, range);
    }
  }

  /**
   * Continues the sequence's sums of a layer row by row, keeps those up to each row, and finds the means, after values are
   * written and before attention. The sequence's sums hold all rows then, until one is committed.
   *
   * @param layer The layer.
   * @param rows Rows of the block.
   * @param state 0, then the number of tokens before each row, or before a block that shares a selection.
   * @param lists What each row keeps, or all of them.
   */
  commands(
    layer: number,
    rows: number,
    { state, lists }: { readonly state: DeviceBuffer; readonly lists: DeviceBuffer },
  ): Command[] {
    const { forward: { cache, config }, rest, shape, rows: most, isShared } = this.#options;
    const { kvHeads, headDim } = config;
    const { values, write } = cache.layers[layer]!;
    const { valueFormat, capacity } = cache.shape;
    const bytes = this.#rowBytes;
    const commands: Command[] = [];
    for (let row = 0; row < rows; row++) {
      commands.push(
        sumValuesCommand({ ranges: this.#range(row), values, sums: rest.sums }, {
          ...{ layer, sequences: 1, kvHeads, headDim, valueFormat },
          ...{ slots: write?.capacity ?? capacity, slot: write?.slot },
        }),
        copyCommand(rest.sums, this.#sums, bytes, {
          from: bytes * layer,
          to: bytes * (layer * most + row),
        }),
      );
    }
    const { groups, listWords } = shape;
    const sums = isShared ? rest.sums : this.#sums;
    const sizes = isShared
      ? { sequences: 1, summedSequences: 1, rowsPerSequence: rows }
      : { sequences: rows, summedSequences: most, rowsPerSequence: 1 };
    commands.push(
      restValuesCommand({
        ...{ state, lists, values, sums, masses: this.#masses, rest: this.means },
      }, {
        ...{ layer, ...sizes },
        ...{ groupsPerLayer: groups.perLayer, groupOffset: layer * groups.perLayer },
        ...{ groups: groups.total, groupHeads: groups.heads, listWords },
        ...{ kvHeads, headDim, valueFormat },
      }),
    );
    return commands;
  }

  /**
   * Makes the sums of an accepted row those of the sequence.
   *
   * @param row Which row.
   */
  commitCommands(row: number): Command[] {
    const { forward: { config: { layers } }, rest, rows } = this.#options;
    const bytes = this.#rowBytes;
    return Array.from({ length: layers }, (_, layer) =>
      copyCommand(this.#sums, rest.sums, bytes, {
        from: bytes * (layer * rows + row),
        to: bytes * layer,
      }));
  }

  /** Notes how many tokens the sequence's sums hold once a row is committed. */
  committed(tokens: number): void {
    this.#summed = tokens;
  }

  /** Frees the buffers. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  get #rowBytes(): number {
    const { kvHeads, headDim } = this.#options.forward.config;
    return 4 * kvHeads * headDim;
  }

  #range(row: number): BufferWindow {
    return { buffer: this.#ranges, byteOffset: RANGE_BYTES * row, byteLength: 8 };
  }
}
