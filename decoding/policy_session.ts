/**
 * Decoding of a large model under cache policies, with a small model beside it where a policy wants one.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, Algorithm 1
 * @module
 */

import { checkInteger } from "../core/check.ts";
import type { Device, Recording } from "../gpu/device.ts";
import { readLogits } from "./logits.ts";
import { type LaneSet, laneSet } from "./policy_lanes.ts";
import { type PromptOptions, runPrompt } from "./policy_prompt.ts";
import { PolicySequences } from "./policy_sequences.ts";
import {
  createPolicyBuffers,
  type PolicyBuffers,
  type PolicyShape,
  recordLargeStep,
  recordSmallStep,
  writeLanes,
} from "./policy_steps.ts";
import { PolicyStore } from "./policy_store.ts";
import {
  checkPair,
  type ModelPair,
  type PolicyMemory,
  type PolicySessionOptions,
  type StepOptions,
  type StepReport,
} from "./policy_types.ts";
import { listShape } from "./selection_lists.ts";
import { Session } from "./session.ts";
import { replaceNext, writeLengths } from "./step_tokens.ts";
import { unitShape } from "./units.ts";

export type { PromptOptions } from "./policy_prompt.ts";
export type * from "./policy_types.ts";

/** Recordings of a step, and where kept tokens lie; made at the first step. */
interface Running {
  readonly store: PolicyStore;
  readonly small?: Recording;
  readonly large: Recording;
}

/** A pair that decodes under one policy, or each sequence under its own. Disposing it frees caches and activations. */
export class PolicySession implements Disposable {
  readonly #pair: ModelPair;
  readonly #options: PolicySessionOptions;
  readonly #lanes: LaneSet;
  readonly #device: Device;
  readonly #large: Session;
  readonly #small: Session | undefined;
  readonly #shape: PolicyShape;
  readonly #buffers: PolicyBuffers;
  readonly #sequences: PolicySequences;
  readonly #owned: DisposableStack;
  #running: Promise<Running> | undefined;

  /**
   * Allocates caches and activations.
   *
   * @param pair Models.
   * @param options Policy and budget of all sequences or of each, sizes.
   * @throws {TypeError} If a policy needs a helper and there is none, or its vocabulary differs.
   * @throws {RangeError} If the sequences cannot run together.
   */
  constructor(pair: ModelPair, options: PolicySessionOptions) {
    const { chunk = 128 } = options;
    // Kernels take scores four tokens at a time.
    const capacity = 4 * Math.ceil(options.capacity / 4);
    const { device } = pair.large;
    const set = laneSet(options);
    for (const { policy } of set.lanes) checkPair(pair, policy);
    const streams = set.leaders.length;
    const sizes = { capacity, chunk };
    const accumulate = streams > 0 || set.lanes.some(({ policy }) => policy.memory === "sum");
    using stack = new DisposableStack();
    this.#pair = pair;
    this.#options = { ...options, capacity };
    this.#lanes = set;
    this.#device = device;
    const sequences = set.lanes.length;
    this.#large = stack.use(new Session(pair.large, { ...sizes, sequences, accumulate }));
    this.#small = streams > 0
      ? stack.use(new Session(pair.small!, { ...sizes, sequences: streams, accumulate: true }))
      : undefined;
    this.#shape = policyShape(pair, set, capacity);
    this.#buffers = stack.use(createPolicyBuffers(device, this.#shape));
    const { forward } = this.#large;
    writeLanes({ forward, buffers: this.#buffers, shape: this.#shape, lanes: set });
    this.#sequences = new PolicySequences({
      pair,
      options: this.#options,
      lanes: set,
      shape: this.#shape,
      buffers: this.#buffers,
      large: this.#large,
    });
    this.#owned = stack.move();
  }

  /** Tokens of each sequence in the cache. */
  get lengths(): readonly number[] {
    return this.#large.lengths;
  }

  /**
   * Runs a prompt exactly, with both models; nothing is dropped before the first decode step.
   *
   * @param tokens Token ids.
   * @param options Which sequence, or which ones begin with this prompt; progress, signal.
   * @throws {RangeError} If a sequence already has tokens, or sequences that share a helper do not begin together.
   */
  async prefill(tokens: readonly number[], options: PromptOptions = {}): Promise<void> {
    const { sequence = 0, ...events } = options;
    const indices = typeof sequence === "number" ? [sequence] : sequence;
    for (const index of indices) {
      const held = { value: this.lengths[index]!, min: 0, max: 0 };
      checkInteger("run a prompt", "tokens that its sequence has", held);
    }
    const lanes = this.#sequences.begin(indices, tokens.length);
    const models = {
      large: this.#large,
      ...(this.#small && { small: this.#small }),
      match: this.#options.match ?? {},
    };
    const state = await runPrompt(models, tokens, { ...events, lanes });
    this.#sequences.startFrom(lanes, tokens.length, state);
  }

  /**
   * Reads the token that each sequence continues with.
   *
   * @returns Token ids, one per sequence.
   */
  async nextTokens(): Promise<number[]> {
    return await this.#large.nextTokens();
  }

  /**
   * Runs one token of every sequence and chooses the next.
   *
   * @param options Forced tokens, logits.
   * @returns What was chosen and what was seen.
   * @throws {RangeError} If the cache is full, or sequences that share a helper would read different tokens.
   */
  async step(options: StepOptions = {}): Promise<StepReport> {
    const room = { value: Math.max(...this.lengths) + 1, max: this.#options.capacity - 1 };
    checkInteger("decode", "tokens of the longest sequence", room);
    this.#sequences.checkTokens(options.tokens);
    if (options.tokens) replaceNext(this.#large, options.tokens);
    await this.#sequences.matchIfDue();
    const { store, small, large } = await (this.#running ??= this.#start());
    writeLengths(this.#large);
    if (small) {
      writeLengths(this.#small!);
      this.#device.submit(small);
    }
    await this.#sequences.planBefore();
    const { selections, matches } = this.#sequences;
    const migration = store.apply(selections, matches);
    this.#device.submit(large);
    this.#large.advance();
    this.#small?.advance();
    // Read together: each awaited read alone costs as much as all of them.
    const { forward } = this.#large;
    const [chosen, logits, scores] = await Promise.all([
      this.nextTokens(),
      options.logits ? readLogits(forward, this.lengths.length) : undefined,
      this.#sequences.readAfter(),
      store.takeNewest(),
    ]);
    const dropsAfter = this.#sequences.planAfter(scores);
    return {
      chosen,
      selections,
      churn: this.#sequences.churn,
      ...(logits && { logits }),
      ...(migration && { migration }),
      ...(dropsAfter && { after: this.#sequences.selections }),
    };
  }

  /** Bytes of keys and values now. */
  async memory(): Promise<PolicyMemory> {
    const running = await this.#running;
    const { headDim, kvHeads, layers } = this.#pair.large.config;
    return {
      largeCacheBytes: running?.store.deviceBytes ?? this.#large.cacheBytes,
      largeCacheBytesIdeal: 2 * headDim * this.#sequences.heldRows(layers * kvHeads),
      helperCacheBytes: this.#small?.cacheBytes ?? 0,
      hostBytes: running?.store.hostBytes ?? 0,
    };
  }

  /** Frees caches and activations. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  /** Moves the prompts' cache to its store and records the steps. */
  async #start(): Promise<Running> {
    const { store: kind = "resident" } = this.#options;
    const common = { buffers: this.#buffers, shape: this.#shape, lanes: this.#lanes };
    const { forward } = this.#large;
    const store = this.#owned.use(
      await PolicyStore.create({ ...common, forward, lengths: this.lengths, kind }),
    );
    const step = this.#small && { ...common, forward: this.#small.forward };
    const small = step && this.#owned.use(await recordSmallStep(step, forward));
    const large = this.#owned.use(await recordLargeStep({ ...common, forward: store.forward }));
    return { store, large, ...(small && { small }) };
  }
}

function policyShape({ large, small }: ModelPair, set: LaneSet, capacity: number): PolicyShape {
  const { layers, queryHeads } = large.config;
  const streams = set.leaders.length;
  const isWeighed = set.lanes.some(({ policy: { scores, memory } }) =>
    scores === "own" && memory !== "prefill"
  );
  return {
    ...listShape(unitShape(large.config, set.granularity), capacity),
    sequences: set.lanes.length,
    streams,
    capacity,
    heads: layers * queryHeads,
    helperHeads: streams > 0 ? small!.config.layers * small!.config.queryHeads : 0,
    weightHeads: isWeighed ? queryHeads : 0,
  };
}
