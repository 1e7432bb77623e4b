/**
 * The small model's side of a decode step: what its heads attend to, with all of its layers and tokens or with fewer.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, appendix A.3
 * @module
 */

import { type CacheBudget, halfEntries } from "../../cache/budget.ts";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import type { Command, Recording } from "../../gpu/device.ts";
import { attentionRowsCommand } from "../../kernels/attention_columns.ts";
import {
  attentionShape,
  type ForwardState,
  type LayerOptions,
} from "../../models/forward/forward.ts";
import { firstLayers } from "../../models/forward/first_layers.ts";
import type { Model } from "../../models/load.ts";
import { HelperCache } from "./helper_cache.ts";
import { type PolicyStep, recordSmallStep } from "../policies/policy_steps.ts";
import type { StoreKind } from "../policies/policy_store.ts";
import { Session } from "../sessions/session.ts";
import { writeLengths } from "../sessions/step_tokens.ts";

/** How a helper is made cheaper (Tables 5 and 6). */
export interface HelperCut {
  /** What is kept of the helper's own cache; all of it if left out. */
  readonly helperBudget?: CacheBudget;
  /** Layers of the helper that run; all of them if left out. */
  readonly helperLayers?: number;
}

/** What a sequence of the helper is read for. */
export interface HelperLane extends Pick<HelperCut, "helperBudget"> {
  /** Policy of the large model. */
  readonly policy: ResolvedPolicy;
}

/** What a helper is made for. */
export interface HelperOptions extends Pick<HelperCut, "helperLayers"> {
  /** One entry per sequence that it reads; either all or none have a budget. */
  readonly lanes: readonly HelperLane[];
  /** Tokens that fit per sequence. */
  readonly capacity: number;
  /** Rows of one prefill step. */
  readonly chunk: number;
  /** Where kept tokens lie if not all are; `resident` if left out. */
  readonly store?: StoreKind;
}

/**
 * Throws unless there is a helper to cut, and something of its cache remains.
 *
 * @param lanes What is decoded under.
 * @param cut Layers that run.
 * @throws {RangeError} If there is none, or nothing would remain of its cache.
 */
export function checkCut(
  lanes: readonly HelperLane[],
  { helperLayers }: Pick<HelperCut, "helperLayers">,
): void {
  const bare = lanes.filter(({ policy }) => policy.scores !== "helper");
  const isAll = helperLayers !== undefined && bare.length === lanes.length;
  const misused = bare.find(({ helperBudget }) => isAll || helperBudget);
  if (misused) {
    throw new RangeError(
      `Cannot make the helper cheaper: the policy must have one, as smallkv has: current policy is ${misused.policy.name}`,
    );
  }
  for (const { helperBudget } of lanes) if (helperBudget) halfEntries(helperBudget, 1);
}

/** Bytes of a helper's keys and values. */
export interface HelperMemory {
  /** In the buffers that exist on the device. */
  readonly deviceBytes: number;
  /** Of the tokens kept now, by counting: 4 * headDim each, over the KV heads of the layers that run. */
  readonly idealBytes: number;
  /** On the host. */
  readonly hostBytes: number;
}

/** A small model that watches. Disposing it frees its cache and activations. */
export class HelperStep implements Disposable {
  /** Runs the prompts; its model has the layers that run. */
  readonly session: Session;
  readonly #cache: HelperCache | undefined;
  readonly #owned: DisposableStack;
  #recording: Recording | undefined;

  /**
   * Allocates cache and activations.
   *
   * @param model The whole small model.
   * @param options What it is made for.
   * @throws {RangeError} If the model does not have the layers that should run.
   */
  constructor(model: Model, options: HelperOptions) {
    const { helperLayers = model.config.layers, lanes, capacity, chunk } = options;
    const sizes = { capacity, chunk, sequences: lanes.length };
    using stack = new DisposableStack();
    const small = firstLayers(model, helperLayers);
    this.session = stack.use(new Session(small, { ...sizes, accumulate: true }));
    this.#cache = lanes.some(({ helperBudget }) => helperBudget)
      ? stack.use(new HelperCache(this.session, options))
      : undefined;
    this.#owned = stack.move();
  }

  /** Whether it needs what its own tokens have received in the prompt. */
  get needsSums(): boolean {
    return this.#cache !== undefined;
  }

  /** Heads of the layers that run. */
  get heads(): number {
    const { layers, queryHeads } = this.session.model.config;
    return layers * queryHeads;
  }

  /** Tokens that the helper itself keeps, [sequence][layer * kvHeads + kvHead]; undefined if it keeps all. */
  get selections(): HelperCache["selections"] | undefined {
    return this.#cache?.selections;
  }

  /** Bytes of keys and values now. */
  get memory(): HelperMemory {
    if (this.#cache) return this.#cache;
    const { session } = this;
    const { layers, kvHeads, headDim } = session.model.config;
    const tokens = session.lengths.reduce((sum, length) => sum + length, 0);
    return {
      deviceBytes: session.cacheBytes,
      idealBytes: 4 * headDim * kvHeads * layers * tokens,
      hostBytes: 0,
    };
  }

  /**
   * Starts a sequence with a prompt, of which nothing is dropped yet.
   *
   * @param sequence Which sequence.
   * @param promptTokens Its tokens.
   */
  begin(sequence: number, promptTokens: number): void {
    this.#cache?.begin(sequence, promptTokens);
  }

  /**
   * Allows a compressed helper to drop tokens of a sequence.
   *
   * @param sequence Which sequence.
   * @param sums What its tokens have received so far, [heads, tokens]; needed if `needsSums`.
   */
  start(sequence: number, sums?: Float32Array): void {
    this.#cache?.start(sequence, sums!);
  }

  /**
   * Runs one token of every sequence; see `recordSmallStep`.
   *
   * @param step Buffers, sizes and sequences of the large model's side.
   * @param large Model whose tokens it reads; it has been told its lengths.
   */
  async submit(step: Omit<PolicyStep, "forward">, large: ForwardState): Promise<void> {
    const recording = this.#recording ??= await this.#record(step, large);
    writeLengths(this.session);
    this.#cache?.append();
    this.session.forward.device.submit(recording);
  }

  /** Counts the token that `submit` ran, and drops what the budget does not pay for. */
  async finish(): Promise<void> {
    this.session.advance();
    await this.#cache?.settle();
  }

  /** Frees cache and activations. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  async #record(step: Omit<PolicyStep, "forward">, large: ForwardState): Promise<Recording> {
    const forward = await this.#cache?.open() ?? this.session.forward;
    const watched = (layer: number): Omit<LayerOptions, "layer"> =>
      this.#cache
        ? { attention: this.#cache.attention(forward, layer, step.buffers.streamRows) }
        : { watch: [helperRowsCommand({ ...step, forward }, layer)] };
    const recording = await recordSmallStep({ ...step, forward }, { large, watched });
    return this.#owned.use(recording);
  }
}

/**
 * Keeps the attention of a layer's heads to the whole cache.
 *
 * @param step Small model, buffers, sizes.
 * @param layer The layer.
 * @returns A command after the layer's attention.
 */
export function helperRowsCommand(
  { forward, buffers, shape }: Omit<PolicyStep, "lanes">,
  layer: number,
): Command {
  const { device, config, workspace, cache } = forward;
  return attentionRowsCommand(device.info, {
    shape: attentionShape(forward, { sequences: shape.streams, rowsPerSequence: 1 }, layer),
    heads: { offset: layer * config.queryHeads, total: shape.helperHeads },
    buffers: {
      state: workspace.state,
      qkv: workspace.queryKeyValue,
      keys: cache.layers[layer]!.keys,
      log_sum: workspace.logSum,
      rows: buffers.streamRows,
    },
  });
}
