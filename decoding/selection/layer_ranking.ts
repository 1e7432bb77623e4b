/**
 * Ranking within the layer: the layer's own queries score all tokens by an index of their keys, before its attention.
 *
 * @see docs/method.md, "Ranked within the layer"
 * @module
 */

import type { Command, DeviceBuffer } from "../../gpu/device.ts";
import { meanRowsCommand } from "../../kernels/mean_rows.ts";
import { planBySaliencyCommand } from "../../kernels/plan_by_saliency.ts";
import { softmaxRowsCommand } from "../../kernels/softmax_rows.ts";
import type { ForwardState } from "../../models/forward/forward.ts";
import type { PolicyBuffers, PolicyShape } from "./buffers.ts";
import { createDeviceIndex, type DeviceIndex, type IndexedSequence } from "./key_index.ts";
import type { SequenceSettings } from "./sequence_settings.ts";

/** What a ranking is made for. */
interface RankingOptions {
  /** Model with the complete cache. */
  readonly forward: ForwardState;
  /** The sequences, which have an index. */
  readonly batch: SequenceSettings;
  /** Sizes of the policies. */
  readonly shape: PolicyShape;
  /** Buffers of the policies. */
  readonly buffers: PolicyBuffers;
}

/** Index of the keys of all sequences, and what ranks tokens by it. Disposing it frees both. */
export class LayerRanking implements Disposable {
  /** Softmax of each query head over all tokens by the index, of one layer at a time, f32 [sequences, queryHeads, capacity]. */
  readonly rows: DeviceBuffer;
  /** Means of the rows over the heads of each selection, f32 [sequences, groups, capacity]. */
  readonly saliency: DeviceBuffer;
  readonly #options: RankingOptions;
  readonly #index: DeviceIndex;
  readonly #owned: DisposableStack;

  private constructor(
    options: RankingOptions,
    parts: Pick<LayerRanking, "rows" | "saliency"> & { readonly index: DeviceIndex },
    owned: DisposableStack,
  ) {
    this.#options = options;
    this.#index = parts.index;
    this.rows = parts.rows;
    this.saliency = parts.saliency;
    this.#owned = owned;
  }

  /**
   * Makes the index of a batch's keys.
   *
   * @param options Model, sequences, sizes, buffers.
   * @param sequences Tokens of every sequence.
   * @returns The ranking; nothing for policies that rank in another way.
   * @throws {GpuError} If the device has too little memory.
   */
  static async create(
    options: RankingOptions,
    sequences: readonly IndexedSequence[],
  ): Promise<LayerRanking | undefined> {
    const { forward: { device, config }, batch: { index }, shape } = options;
    if (!index) return undefined;
    using stack = new DisposableStack();
    const words = (label: string, count: number) =>
      stack.use(device.createBuffer(label, 4 * shape.sequences * shape.capacity * count));
    const parts = {
      index: stack.use(createDeviceIndex(options.forward, index, shape)),
      rows: words("rows by the index of keys", config.queryHeads),
      saliency: words("saliency by the index of keys", shape.groups.total),
    };
    const ranking = new LayerRanking(options, parts, stack.move());
    try {
      await ranking.refresh(sequences);
    } catch (error) {
      ranking[Symbol.dispose]();
      throw error;
    }
    return ranking;
  }

  /** Bytes of the index. */
  get byteLength(): number {
    return this.#index.byteLength;
  }

  /** Summarizes all keys of some sequences again, from the complete cache. */
  async refresh(sequences: readonly IndexedSequence[]): Promise<void> {
    const { forward, shape } = this.#options;
    const { device, config: { layers } } = forward;
    for (const sequence of sequences) {
      using state = device.createBuffer("sequence to be indexed", 4 * (1 + shape.sequences));
      device.write(state, 0, Uint32Array.of(sequence.sequence));
      const commands = Array.from(
        { length: layers },
        (_, layer) => this.#index.build(forward, layer, sequence, state),
      );
      using recording = await device.record("index of keys", commands.flat());
      device.submit(recording);
      await device.finished();
    }
  }

  /**
   * Adds the newest keys of a layer to the index and ranks its tokens, once they are written.
   *
   * @param forward Model with the cache that they are written to.
   * @param layer The layer.
   * @param budgets Tokens of each tier, as `plan_by_saliency` takes them; if left out, the lists are left to the host.
   * @returns Commands.
   */
  commands(forward: ForwardState, layer: number, budgets?: DeviceBuffer): Command[] {
    const { workspace: { state }, config: { queryHeads, kvHeads }, weights } = forward;
    const { shape, buffers } = this.#options;
    const { groups: { perLayer, heads, total }, sequences, capacity, listWords } = shape;
    const { rows, saliency } = this;
    const { sinks } = weights.layers[layer]!;
    const sizes = { sequences, queryHeads, kvHeads, capacity, listWords };
    const scored = [
      ...this.#index.score(forward, layer, rows),
      softmaxRowsCommand({ state, rows, sinks }, sizes),
      meanRowsCommand(
        { state, joined: buffers.joined, rows, saliency },
        { ...sizes, groupHeads: heads, groupOffset: layer * perLayer, groups: total },
      ),
    ];
    if (!budgets) return scored;
    const { match, lists } = buffers;
    const plan = planBySaliencyCommand(forward.device.info, {
      state,
      saliency,
      budgets,
      match,
      lists,
    }, {
      ...sizes,
      layer,
      groups: total,
      groupHeads: heads,
      groupsPerLayer: perLayer,
    });
    return [...scored, plan];
  }

  /**
   * Reads the scores of a layer's selections.
   *
   * @returns For each sequence, f32 [groups of the layer, capacity].
   */
  async read(layer: number): Promise<Float32Array[]> {
    const { forward: { device }, shape: { groups, sequences, capacity } } = this.#options;
    const bytes = 4 * groups.perLayer * capacity;
    return await Promise.all(Array.from({ length: sequences }, async (_, sequence) => {
      const first = 4 * (sequence * groups.total + layer * groups.perLayer) * capacity;
      return new Float32Array(await device.read(this.saliency, first, bytes));
    }));
  }

  /** Frees index and buffers. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}
