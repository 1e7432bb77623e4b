/**
 * Decoding of a large model under a cache policy, with a small model beside it where the policy wants one.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, Algorithm 1
 * @module
 */

import { checkInteger } from "../core/check.ts";
import type { Device, Recording } from "../gpu/device.ts";
import { readLogits } from "./logits.ts";
import {
  type HelperState,
  matchWhileDecoding,
  type PromptOptions,
  runHelperPrompt,
  runOwnPrompt,
} from "./policy_prompt.ts";
import {
  createPolicyBuffers,
  type PolicyBuffers,
  type PolicyShape,
  recordLargeStep,
  recordSmallStep,
} from "./policy_steps.ts";
import { PolicySequence } from "./policy_sequence.ts";
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
import { readTokens, replaceNext, writeLengths } from "./step_tokens.ts";
import { listUnits } from "./units.ts";

export type { PromptOptions } from "./policy_prompt.ts";
export type * from "./policy_types.ts";

/** Recordings of a step, and where kept tokens lie; made at the first step. */
interface Running {
  readonly store: PolicyStore;
  readonly small?: Recording;
  readonly large: Recording;
}

/** A pair that decodes under a policy. Disposing it frees caches and activations. */
export class PolicySession implements Disposable {
  readonly #pair: ModelPair;
  readonly #options: PolicySessionOptions;
  readonly #device: Device;
  readonly #large: Session;
  readonly #small: Session | undefined;
  readonly #shape: PolicyShape;
  readonly #buffers: PolicyBuffers;
  readonly #sequences: (PolicySequence | undefined)[];
  readonly #owned: DisposableStack;
  #running: Promise<Running> | undefined;

  /**
   * Allocates caches and activations.
   *
   * @param pair Models.
   * @param options Policy, budget, sizes.
   * @throws {TypeError} If the policy needs a helper and there is none, or its vocabulary differs.
   */
  constructor(pair: ModelPair, options: PolicySessionOptions) {
    checkPair(pair, options.policy);
    const { policy, capacity, sequences = 1, chunk = 128 } = options;
    const { config, device } = pair.large;
    const helper = policy.scores === "helper" ? pair.small : undefined;
    const accumulate = helper !== undefined || policy.memory === "sum";
    const sizes = { capacity, sequences, chunk };
    using stack = new DisposableStack();
    this.#pair = pair;
    this.#options = options;
    this.#device = device;
    this.#large = stack.use(new Session(pair.large, { ...sizes, accumulate }));
    this.#small = helper && stack.use(new Session(helper, { ...sizes, accumulate: true }));
    this.#shape = {
      ...listShape(listUnits(config, policy.granularity), capacity),
      sequences,
      capacity,
      heads: config.layers * config.queryHeads,
      helperHeads: helper ? helper.config.layers * helper.config.queryHeads : 0,
      weightHeads: policy.scores === "own" && policy.memory !== "prefill" ? config.queryHeads : 0,
    };
    this.#buffers = stack.use(createPolicyBuffers(device, this.#shape));
    this.#sequences = new Array<PolicySequence | undefined>(sequences).fill(undefined);
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
   * @param options Which sequence, progress, signal.
   * @throws {RangeError} If the sequence already has tokens.
   */
  async prefill(tokens: readonly number[], options: PromptOptions = {}): Promise<void> {
    const { sequence: index = 0 } = options;
    const { policy, budget, capacity, match = {} } = this.#options;
    const { config } = this.#pair.large;
    const held = { value: this.lengths[index]!, min: 0, max: 0 };
    checkInteger("run a prompt", "tokens that its sequence has", held);
    const promptTokens = tokens.length;
    const sequence = new PolicySequence({ policy, budget, config, capacity, promptTokens });
    this.#sequences[index] = sequence;
    if (!this.#small) {
      const request = { ...policy, budget, tokens: promptTokens, promptTokens, layer: 0 };
      const rows = policy.promptRows?.({ ...request, layers: config.layers }) ?? 0;
      const { own } = sequence;
      await runOwnPrompt(this.#large, tokens, { ...options, ...(own && { own }), rows });
      sequence.isReady = true;
    } else if (promptTokens >= policy.minimumTokens) {
      const prompt = { large: this.#large, small: this.#small, policy, match };
      this.#takeHelper(index, await runHelperPrompt(prompt, tokens, options), promptTokens);
    } else {
      const { onProgress: _, ...rest } = options;
      await this.#large.prefill(tokens, rest);
      await this.#small.prefill(tokens, { ...rest, logits: "none" });
    }
    if (!this.#plansBefore && sequence.own) this.#planIfDue(index, promptTokens);
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
   * @throws {RangeError} If the cache is full.
   */
  async step(options: StepOptions = {}): Promise<StepReport> {
    const room = { value: Math.max(...this.lengths) + 1, max: this.#options.capacity - 1 };
    checkInteger("decode", "tokens of the longest sequence", room);
    if (options.tokens) replaceNext(this.#large, options.tokens);
    await this.#matchIfDue();
    const { store, small, large } = await (this.#running ??= this.#start());
    writeLengths(this.#large);
    if (small) {
      writeLengths(this.#small!);
      this.#device.submit(small);
    }
    await this.#selectBefore();
    const selections = this.#all.map((sequence) => sequence.selections);
    const migration = store.apply(selections, this.#all.map((sequence) => sequence.match));
    this.#device.submit(large);
    this.#large.advance();
    this.#small?.advance();
    // Read together: each awaited read alone costs as much as all of them.
    const { forward } = this.#large;
    const [chosen, logits, saliency] = await Promise.all([
      this.nextTokens(),
      options.logits ? readLogits(forward, this.lengths.length) : undefined,
      this.#plansBefore ? [] : this.#readSaliency(),
      store.takeNewest(),
    ]);
    if (!this.#plansBefore) this.#selectAfter(saliency);
    return {
      chosen,
      selections,
      churn: this.#all.map((sequence) => sequence.churn),
      ...(logits && { logits }),
      ...(migration && { migration }),
      ...(!this.#plansBefore && { after: this.#all.map((sequence) => sequence.selections) }),
    };
  }

  /** Bytes of keys and values now. */
  async memory(): Promise<PolicyMemory> {
    const running = await this.#running;
    const { headDim, kvHeads } = this.#pair.large.config;
    const { layers } = this.#pair.large.config;
    let rows = 0;
    for (const sequence of this.#sequences) {
      if (!sequence) continue;
      const heads = layers * kvHeads / sequence.selections.length;
      for (const { kept, marginal } of sequence.selections) {
        rows += heads * (2 * kept.length + marginal.length);
      }
    }
    return {
      largeCacheBytes: running?.store.deviceBytes ?? this.#large.cacheBytes,
      largeCacheBytesIdeal: 2 * headDim * rows,
      helperCacheBytes: this.#small?.cacheBytes ?? 0,
      hostBytes: running?.store.hostBytes ?? 0,
    };
  }

  /** Frees caches and activations. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  get #all(): readonly PolicySequence[] {
    return this.#sequences.map((sequence) => sequence!);
  }

  /** Whether a step's attention sees what its own plan chose. */
  get #plansBefore(): boolean {
    const { policy } = this.#options;
    return policy.timing === "before" && !policy.stale;
  }

  /** Matches sequences that the coming token makes long enough. */
  async #matchIfDue(): Promise<void> {
    const { policy, match = {}, capacity } = this.#options;
    if (!this.#small) return;
    for (const [index, length] of this.lengths.entries()) {
      if (this.#all[index]!.isReady || length + 1 < policy.minimumTokens) continue;
      const all = await readTokens(this.#large);
      const tokens = [...all.subarray(index * capacity, index * capacity + length + 1)];
      const pair = { large: this.#pair.large, small: this.#small.model, policy, match };
      this.#takeHelper(index, await matchWhileDecoding(pair, tokens), length);
    }
  }

  /** Takes what the helper knows of a sequence of some tokens. */
  #takeHelper(index: number, helper: HelperState, tokens: number): void {
    const { helperHeads, capacity, heads } = this.#shape;
    const sequence = this.#all[index]!;
    sequence.match.set(helper.match.match);
    sequence.isReady = true;
    const scores = new Float32Array(helperHeads * capacity);
    for (let head = 0; head < helperHeads; head++) {
      const values = helper.scores.subarray(head * tokens, (head + 1) * tokens);
      scores.set(values, head * capacity);
    }
    this.#device.write(this.#buffers.scores, scores.byteLength * index, scores);
    this.#device.write(this.#buffers.match, 4 * heads * index, sequence.match);
  }

  /** Chooses what the coming step's attention sees. */
  async #selectBefore(): Promise<void> {
    const due = this.#plansBefore
      ? this.lengths.map((length, index) => this.#all[index]!.isDue(length + 1))
      : [];
    const saliency = due.includes(true) ? await this.#readSaliency() : [];
    for (const [index, length] of this.lengths.entries()) {
      const sequence = this.#all[index]!;
      if (due[index]) sequence.plan(length + 1, saliency[index]);
      else sequence.append(length);
    }
  }

  /** Remembers the step's own attention, and drops tokens where the policy drops them after a step. */
  #selectAfter(saliency: readonly Float32Array[]): void {
    this.#all.forEach((sequence, index) => {
      if (this.#shape.weightHeads > 0) sequence.remember(saliency[index]!);
      this.#planIfDue(index, this.lengths[index]!, saliency[index]);
    });
  }

  #planIfDue(index: number, tokens: number, saliency?: Float32Array): void {
    const sequence = this.#all[index]!;
    if (sequence.isDue(tokens)) sequence.plan(tokens, saliency);
  }

  /** Scores of each sequence, [list units, capacity]; nothing where nobody scores. */
  async #readSaliency(): Promise<Float32Array[]> {
    if (!this.#small && this.#shape.weightHeads === 0) return [];
    const { capacity, units } = this.#shape;
    const all = new Float32Array(await this.#device.read(this.#buffers.saliency));
    const size = units.total * capacity;
    return this.lengths.map((_, index) => all.subarray(index * size, (index + 1) * size));
  }

  /** Moves the prompts' cache to its store and records the steps. */
  async #start(): Promise<Running> {
    const { policy, budget, store: kind = "resident" } = this.#options;
    const common = { buffers: this.#buffers, shape: this.#shape, policy };
    const { forward } = this.#large;
    const store = this.#owned.use(
      await PolicyStore.create({ ...common, forward, lengths: this.lengths, kind, budget }),
    );
    const step = this.#small && { ...common, forward: this.#small.forward };
    const small = step && this.#owned.use(await recordSmallStep(step, forward));
    const large = this.#owned.use(await recordLargeStep({ ...common, forward: store.forward }));
    return { store, large, ...(small && { small }) };
  }
}
