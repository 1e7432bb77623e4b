/**
 * The rest of a selection (D-31): tokens that a head group neither keeps nor lists count as one more token, whose value is
 * their mean. The sum of all values is kept on the device, since a store may have lost the tokens.
 *
 * @see docs/method.md, "The rest"
 * @module
 */

import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import { RequirementError } from "../../core/check.ts";
import type { Command, Device, DeviceBuffer } from "../../gpu/device.ts";
import { REST_HEADER, restValuesCommand, ROW_MASS } from "../../kernels/rest_values.ts";
import { selectedSplitBytes } from "../../kernels/selected_attention.ts";
import { sumValuesCommand } from "../../kernels/sum_values.ts";
import type { ModelConfig } from "../../models/config.ts";
import type { ForwardState } from "../../models/forward/forward.ts";
import type { PolicyBuffers, PolicyShape } from "./buffers.ts";
import type { SequenceSettings } from "./sequence_settings.ts";

/**
 * Tells where a policy's step learns how much attention falls on the rest: nowhere, since the rest does not count; from
 * the row of attention that weighs marginal tokens; or from the large model's own sums.
 */
export function restSource(
  { rest, saliencySource, index }: Pick<ResolvedPolicy, "rest" | "saliencySource" | "index">,
): "none" | "row" | "sums" {
  if (rest === "none") return "none";
  return saliencySource === "large" && !index ? "sums" : "row";
}

/**
 * Throws unless the rest can count in every layer of a pair.
 *
 * @throws {RequirementError} If a layer of the large model sees only some tokens, whereas sums hold the values of all; or if
 *   sinks take a part of the small model's rows, which is not the rest's.
 */
export function checkRest(
  { large, small }: { readonly large: RestModel; readonly small?: RestModel },
  policy: ResolvedPolicy,
): void {
  const source = restSource(policy);
  if (source === "none") return;
  const action = "count the rest of the tokens";
  const window = large.config.layerAttention?.find((layer) => layer.window !== undefined)?.window;
  if (window !== undefined) {
    const requirement = "every layer of the large model must see all tokens";
    throw new RequirementError({ action, requirement, state: `window is ${window} in one` });
  }
  const rows = policy.index ? large : small;
  if (source === "row" && rows?.config.layerAttention?.some((layer) => layer.hasSinks)) {
    const requirement = `the ${policy.index ? "large" : "small"} model must have no sink logits`;
    throw new RequirementError({ action, requirement, state: "layers have some" });
  }
}

/** A model of which only the attention matters. */
interface RestModel {
  readonly config: Pick<ModelConfig, "layerAttention">;
}

/** Sizes of what the rest needs. */
interface RestShape extends Pick<PolicyShape, "groups" | "listWords" | "sequences"> {
  /** Most rows of a step. */
  readonly rows: number;
}

/** Sums, means and masses of the rest of every sequence. Disposing it frees its buffers. */
export class RestOfTokens implements Disposable {
  /** Means of one layer at a time, f32 [sequences, groups of the layer, REST_HEADER + headDim]. */
  readonly means: DeviceBuffer;
  /** Scratch with room for a split of every list. */
  readonly partial: DeviceBuffer;
  /** Sums of the values of all tokens, f32 [layers, sequences, kvHeads, headDim]. */
  readonly #sums: DeviceBuffer;
  /** First token that a step adds to the sums and the one after the last, u32 [sequences, 2]. */
  readonly #ranges: DeviceBuffer;
  /** Attention to the rest, f32 [sequences, groups], as `rest_values` takes it. */
  readonly #masses: DeviceBuffer;
  readonly #shape: RestShape;
  readonly #device: Device;
  /** Tokens of each sequence whose values are in the sums. */
  readonly #summed: number[];
  readonly #owned: DisposableStack;

  private constructor({ device, config, workspace }: ForwardState, shape: RestShape) {
    const { layers, kvHeads, headDim } = config;
    const { sequences, groups, rows } = shape;
    using stack = new DisposableStack();
    const words = (label: string, count: number) =>
      stack.use(device.createBuffer(label, 4 * count));
    this.#device = device;
    this.#shape = shape;
    this.#summed = new Array<number>(sequences).fill(0);
    this.#sums = words("sums of values", layers * sequences * kvHeads * headDim);
    this.means = words(
      "mean values of the rest",
      sequences * groups.perLayer * (REST_HEADER + headDim),
    );
    this.#ranges = words("tokens to sum", 2 * sequences);
    this.#masses = words("attention to the rest", sequences * groups.total);
    const bytes = selectedSplitBytes(config, rows);
    this.partial = workspace.partial && workspace.partial.byteLength >= bytes
      ? workspace.partial
      : words("partial attention with the rest", bytes / 4);
    this.#owned = stack.move();
  }

  /**
   * Makes room for the rest; nothing if it counts in no sequence.
   *
   * @param forward The large model.
   * @param options Sizes, sequences, most rows of a step.
   * @throws {GpuError} If the device has too little memory.
   */
  static create(
    forward: ForwardState,
    { shape, batch, rows }: {
      readonly shape: PolicyShape;
      readonly batch: SequenceSettings;
      readonly rows: number;
    },
  ): RestOfTokens | undefined {
    const sources = batch.settings.map(({ policy }) => restSource(policy));
    if (sources.every((source) => source === "none")) return undefined;
    const rest = new RestOfTokens(forward, { ...shape, rows });
    const { total } = shape.groups;
    const masses = new Float32Array(sources.length * total);
    sources.forEach((source, sequence) => {
      if (source === "row") masses.fill(ROW_MASS, sequence * total, (sequence + 1) * total);
    });
    forward.device.write(rest.#masses, 0, masses);
    return rest;
  }

  /** Bytes of the sums and means. */
  get byteLength(): number {
    return this.#sums.byteLength + this.means.byteLength;
  }

  /** Sums of the values of all tokens, f32 [layers, sequences, kvHeads, headDim], which grow with each step. */
  get sums(): DeviceBuffer {
    return this.#sums;
  }

  /** Remembers which tokens the sums hold; the result puts that back, once the sums are. */
  mark(): () => void {
    const summed = [...this.#summed];
    return () => {
      summed.forEach((tokens, sequence) => this.#summed[sequence] = tokens);
    };
  }

  /** Starts a sequence's sums again at its next step, since it holds another text. */
  forget(sequence: number): void {
    this.#summed[sequence] = 0;
  }

  /**
   * Adds the values of prompts to the sums, before a store takes tokens off the device.
   *
   * @param forward The large model with its complete cache.
   * @param lengths Tokens of each sequence.
   */
  async addPrompts(forward: ForwardState, lengths: readonly number[]): Promise<void> {
    this.#writeRanges(lengths);
    const layers = Array.from({ length: forward.config.layers }, (_, layer) => layer);
    const commands = layers.map((layer) => this.#sumCommand(forward, layer));
    using recording = await this.#device.record("sums of values", commands);
    this.#device.submit(recording);
    await this.#device.finished();
  }

  /**
   * Says what the next step adds to the sums, and how much attention falls on the rest.
   *
   * @param lengths Tokens of each sequence after the step.
   * @param masses Attention to the rest of each list group, of each sequence whose own sums tell it.
   */
  prepare(
    lengths: readonly number[],
    masses: readonly (Float32Array<ArrayBuffer> | undefined)[],
  ): void {
    this.#writeRanges(lengths);
    masses.forEach((own, sequence) => {
      if (own) this.#device.write(this.#masses, own.byteLength * sequence, own);
    });
  }

  /**
   * Adds a step's values to the sums of a layer, and finds the means, after values are written and before attention.
   *
   * @param step The large model on its store, and the lists.
   * @param layer The layer.
   * @param rowsPerSequence New tokens of each sequence.
   */
  commands(
    { forward, buffers: { lists } }: {
      readonly forward: ForwardState;
      readonly buffers: Pick<PolicyBuffers, "lists">;
    },
    layer: number,
    rowsPerSequence: number,
  ): Command[] {
    const { cache, workspace: { state }, config: { kvHeads, headDim } } = forward;
    const { groups, listWords, sequences } = this.#shape;
    return [
      this.#sumCommand(forward, layer),
      restValuesCommand({
        state,
        lists,
        values: cache.layers[layer]!.values,
        sums: this.#sums,
        masses: this.#masses,
        rest: this.means,
      }, {
        layer,
        sequences,
        summedSequences: sequences,
        rowsPerSequence,
        groupsPerLayer: groups.perLayer,
        groupOffset: layer * groups.perLayer,
        groups: groups.total,
        groupHeads: groups.heads,
        listWords,
        kvHeads,
        headDim,
        valueFormat: cache.shape.valueFormat,
      }),
    ];
  }

  /** Frees the buffers. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  #writeRanges(lengths: readonly number[]): void {
    const ranges = lengths.flatMap((length, sequence) => [this.#summed[sequence]!, length]);
    this.#device.write(this.#ranges, 0, Uint32Array.from(ranges));
    lengths.forEach((length, sequence) => this.#summed[sequence] = length);
  }

  #sumCommand({ cache, config: { kvHeads, headDim } }: ForwardState, layer: number): Command {
    const { values, write } = cache.layers[layer]!;
    return sumValuesCommand({ ranges: this.#ranges, values, sums: this.#sums }, {
      layer,
      sequences: this.#shape.sequences,
      kvHeads,
      headDim,
      valueFormat: cache.shape.valueFormat,
      slots: write?.capacity ?? cache.shape.capacity,
      slot: write?.slot,
    });
  }
}
