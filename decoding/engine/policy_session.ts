/**
 * Decoding of a large model under cache policies, with a small model beside it where a policy wants one.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, Algorithm 1
 * @module
 */

import type { Migration } from "../../cache/kv_store.ts";
import type { Selection } from "../../cache/policy.ts";
import { checkInteger } from "../../core/check.ts";
import type { Device } from "../../gpu/device.ts";
import { checkTokens, readLogits, replaceNext, writeLengths } from "../session/step_io.ts";
import { checkCut, checkPair, checkTurnBlock } from "./checks.ts";
import type { HelperStep } from "../scoring/small_model.ts";
import { memoryAdvice } from "../session/memory_advice.ts";
import { type LaneSet, laneSet } from "../selection/sequence_settings.ts";
import { type PromptEvents, type PromptOptions, runPrompt } from "./prompt.ts";
import { type Running, startRunning, takeBack } from "./step.ts";
import { PolicySequences } from "./batch.ts";
import {
  createPolicyBuffers,
  type PolicyBuffers,
  type PolicyShape,
  policyShape,
  type PolicyStep,
  writeLanes,
} from "../selection/buffers.ts";
import { PolicyStore } from "./store.ts";
import type {
  ModelPair,
  PolicyMemory,
  PolicySessionOptions,
  StepOptions,
  StepReport,
} from "./types.ts";
import { forgetPrompt, hasWholeTurns, runTurn, stepThrough } from "./turn.ts";
import { TurnBlocks } from "./turn_blocks.ts";
import { Session } from "../session/session.ts";
import { openSmallModel } from "./small_cache.ts";

/** A pair that decodes under one policy, or each sequence under its own. Disposing it frees caches and activations. */
export class PolicySession implements Disposable {
  readonly #pair: ModelPair;
  readonly #options: PolicySessionOptions;
  readonly #lanes: LaneSet;
  readonly #device: Device;
  readonly #large: Session;
  readonly #helper: HelperStep | undefined;
  readonly #shape: PolicyShape;
  readonly #buffers: PolicyBuffers;
  readonly #sequences: PolicySequences;
  readonly #owned: DisposableStack;
  #store: PolicyStore | undefined;
  #running: Running | undefined;
  #blocks: TurnBlocks | undefined;

  /**
   * Allocates caches and activations.
   *
   * @param pair Models.
   * @param options Policy and budget of all sequences or of each, sizes.
   * @throws {TypeError} If a policy needs a helper and there is none, or its vocabulary differs.
   * @throws {RangeError} If the sequences cannot run together, or there is no helper to cut as asked.
   */
  constructor(pair: ModelPair, options: PolicySessionOptions) {
    const { chunk = 128 } = options;
    // Kernels take scores four tokens at a time.
    const capacity = 4 * Math.ceil(options.capacity / 4);
    const { device } = pair.large;
    const set = laneSet(options);
    for (const { policy } of set.lanes) checkPair(pair, policy);
    checkCut(set.lanes, options);
    checkTurnBlock(set.lanes, { ...options, chunk: Math.min(chunk, capacity) });
    const streams = set.leaders.length;
    const sizes = { capacity, chunk };
    const masked = set.lanes.some(({ policy }) => policy.prune !== undefined);
    const accumulate = set.lanes.some(({ policy }) => policy.memory === "sum");
    using stack = new DisposableStack();
    this.#pair = pair;
    this.#options = { ...options, capacity };
    this.#lanes = set;
    this.#device = device;
    const sequences = set.lanes.length;
    const large = { ...sizes, sequences, accumulate, masked };
    this.#large = stack.use(new Session(pair.large, large));
    if (masked) this.#large.setVisible(() => true);
    const lanes = set.leaders.map((lane) => set.lanes[lane]!);
    this.#helper = streams > 0
      ? stack.use(openSmallModel(pair.small!, { ...options, ...sizes, lanes }))
      : undefined;
    const helperHeads = this.#helper?.heads ?? 0;
    this.#shape = policyShape(pair.large.config, set, { capacity, helperHeads });
    this.#buffers = stack.use(createPolicyBuffers(device, this.#shape));
    const { forward } = this.#large;
    writeLanes({ forward, buffers: this.#buffers, shape: this.#shape, lanes: set });
    this.#sequences = new PolicySequences({
      helper: this.#helper,
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
   * Runs a prompt with both models; nothing is dropped before the first decode step, unless a policy prunes prompts.
   *
   * A further turn follows the tokens that are there. Where dropped tokens may return, it sees all of them, the helper's
   * scores grow by its rows, and the next step chooses anew. Where they are gone, it is run token by token, each seeing
   * what is kept then, or in blocks of `turnBlock` tokens.
   *
   * @param tokens Token ids; of a further turn all that the cache does not hold, the newest chosen token too.
   * @param options Which sequence, or which ones begin with this prompt; progress, signal.
   * @throws {RangeError} If sequences that share a helper do not begin together, or several would be run token by token.
   * @throws {GpuError} If the device runs out of memory; then, as after an abort, the sequences have no tokens, or those
   *   before the turn, others keep theirs, and the prompt can be run again.
   */
  async prefill(tokens: readonly number[], options: PromptOptions = {}): Promise<void> {
    const { sequence = 0, ...events } = options;
    const indices = typeof sequence === "number" ? [sequence] : sequence;
    if (indices.some((index) => this.lengths[index]! > 0)) {
      try {
        return await this.#continue(tokens, { ...events, indices });
      } catch (error) {
        throw memoryAdvice(error);
      }
    }
    const lanes = this.#sequences.begin(indices, tokens.length);
    const models = {
      large: this.#large,
      ...(this.#helper && { small: this.#helper.session }),
      match: this.#options.match ?? {},
    };
    const needsSums = this.#helper?.needsSums ?? false;
    try {
      const state = await runPrompt(models, tokens, { ...events, lanes, needsSums });
      this.#sequences.startFrom(lanes, tokens.length, state);
    } catch (error) {
      forgetPrompt({ large: this.#large, helper: this.#helper, lanes: this.#lanes }, indices);
      throw memoryAdvice(error);
    }
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
   * @throws {GpuError} If the device runs out of memory; if it does at the first step, that can be tried again.
   */
  async step(options: StepOptions = {}): Promise<StepReport> {
    try {
      return await this.#step(options);
    } catch (error) {
      throw memoryAdvice(error);
    }
  }

  async #step(options: StepOptions): Promise<StepReport> {
    const room = { value: Math.max(...this.lengths) + 1, max: this.#options.capacity - 1 };
    checkInteger("decode", "tokens of the longest sequence", room);
    this.#sequences.checkTokens(options.tokens);
    if (options.tokens) replaceNext(this.#large, options.tokens);
    await this.#sequences.matchIfDue();
    const running = this.#running ??= await this.#start();
    const { store, planner } = running;
    const moved = await this.#submit(running);
    const { hasSelections = true } = options;
    // Read together: each awaited read alone costs as much as all of them.
    const [chosen, logits, scores, lists] = await Promise.all([
      this.nextTokens(),
      options.logits ? readLogits(this.#large.forward, this.lengths.length) : undefined,
      this.#sequences.readAfter(),
      hasSelections ? planner?.read() : undefined,
      store.takeNewest(),
      this.#helper?.finish(),
    ]);
    const seen = lists ? this.#take(lists) : this.#sequences.selections;
    const migration = lists ? store.account(seen) : moved;
    const dropsAfter = this.#sequences.planAfter(scores);
    if (!hasSelections) return { chosen, selections: [], churn: [], ...(logits && { logits }) };
    return {
      chosen,
      selections: seen,
      churn: this.#sequences.churn,
      ...(logits && { logits }),
      ...(migration && { migration }),
      ...(dropsAfter && { after: this.#sequences.selections }),
    };
  }

  /** Bytes of keys and values now. */
  async memory(): Promise<PolicyMemory> {
    const running = this.#running;
    const helper = this.#helper?.memory;
    if (running?.planner) this.#take(await running.planner.read());
    const { headDim, kvHeads, layers } = this.#pair.large.config;
    return {
      largeCacheBytes: running?.deviceBytes ?? this.#large.cacheBytes,
      largeCacheBytesIdeal: 2 * headDim * this.#sequences.heldRows(layers * kvHeads),
      helperCacheBytes: helper?.deviceBytes ?? 0,
      helperCacheBytesIdeal: helper?.idealBytes ?? 0,
      hostBytes: (running?.store.hostBytes ?? 0) + (helper?.hostBytes ?? 0),
    };
  }

  /** Frees caches and activations. */
  [Symbol.dispose](): void {
    this.#running?.[Symbol.dispose]();
    this.#store?.[Symbol.dispose]();
    this.#owned.dispose();
  }

  async #continue(
    tokens: readonly number[],
    options: PromptEvents & { readonly indices: readonly number[] },
  ): Promise<void> {
    const longest = Math.max(...options.indices.map((index) => this.lengths[index]!));
    const room = this.#options.capacity - 1 - longest;
    checkTokens(tokens, { vocabulary: this.#pair.large.config.vocabulary, room });
    if (options.indices.every((index) => hasWholeTurns(this.#lanes, index))) {
      if (this.#store) await takeBack(this.#large, this.#store);
      this.#running?.[Symbol.dispose]();
      this.#running = this.#store = undefined; // until the next step
      const [large, helper, sequences] = [this.#large, this.#helper, this.#sequences];
      return await runTurn({ ...this.#common, large, helper, sequences }, tokens, options);
    }
    const count = { value: this.lengths.length, min: 1, max: 1 };
    checkInteger("continue token by token", "number of sequences", count);
    const { turnBlock = 1 } = this.#options;
    if (turnBlock === 1) return await stepThrough(this, tokens, options);
    const running = this.#running ??= await this.#start();
    const parts = { ...this.#common, ...running, large: this.#large };
    this.#blocks ??= this.#owned.use(
      new TurnBlocks({ ...parts, sequence: this.#sequences.all[0]! }, turnBlock),
    );
    await this.#blocks.run(tokens, options);
  }

  /** Submits a step of both models with the choice of tokens; returns what a choice on the host moved. */
  async #submit({ store, large, planner }: Running): Promise<Migration | undefined> {
    writeLengths(this.#large);
    await this.#helper?.submit(this.#common, this.#large.forward);
    let moved: Migration | undefined;
    if (planner) {
      planner.run(this.#sequences.tiers());
    } else {
      await this.#sequences.planBefore();
      moved = store.apply(this.#sequences.selections, this.#sequences.matches);
    }
    this.#device.submit(large);
    this.#large.advance();
    return moved;
  }

  /** Takes over what the device has chosen for the step that was run last. */
  #take(lists: Selection[][]): readonly (readonly Selection[])[] {
    this.#sequences.take(lists, this.lengths);
    return this.#sequences.selections;
  }

  /** Moves the prompts' cache to its store and records the steps; goes on where it was if memory ran out before. */
  async #start(): Promise<Running> {
    const { store: kind = "resident", isPlannedOnHost = false } = this.#options;
    const { forward } = this.#large;
    this.#store ??= await PolicyStore.create({
      ...this.#common,
      forward,
      lengths: this.lengths,
      kind,
    });
    return await startRunning(this.#store, this.#common, { kind, isPlannedOnHost });
  }

  get #common(): Omit<PolicyStep, "forward"> {
    return { buffers: this.#buffers, shape: this.#shape, lanes: this.#lanes };
  }
}
