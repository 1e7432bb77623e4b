/**
 * Decoding of a large model under cache policies, along with a small model if a policy uses one.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, Algorithm 1
 * @module
 */

import { indexBytes } from "../../cache/key_index.ts";
import type { Migration } from "../../cache/kv_store.ts";
import type { SlotCounts } from "../../cache/slot_change.ts";
import { LayerRanking } from "../selection/layer_ranking.ts";
import type { Selection } from "../../cache/policy.ts";
import { checkInteger } from "../../core/check.ts";
import { Calls } from "../session/calls.ts";
import { defaultChunk } from "../session/pace.ts";
import { checkTokens, readLogits } from "../session/step_io.ts";
import { checkCut, checkPair, checkTurnBlock } from "./checks.ts";
import { checkFit } from "../scoring/map_fitting.ts";
import { memoryAdvice } from "../session/memory_advice.ts";
import { type SequenceSetting, sequenceSettings } from "../selection/sequence_settings.ts";
import { type PromptEvents, type PromptOptions, runPrompt } from "./prompt.ts";
import { type DecodeState, restoreFullCache, startDecoding } from "./step.ts";
import {
  beginFrom,
  type PromptSnapshot,
  resumeSequence,
  type SequenceSnapshot,
  takeSequence,
} from "./snapshots.ts";
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
import { createEngineParts, type EngineParts, wholeCapacity } from "./parts.ts";
import { RunAhead } from "./run_ahead.ts";

/**
 * A pair that decodes under one policy, or each sequence under its own. Closing it frees caches and activations.
 *
 * One call at a time: another one is refused until the last has ended. A prompt, a turn or a step that fails or is aborted
 * leaves the sequences as they were; a turn that is run token by token or in blocks leaves what was run of it. A step that
 * fails once it has begun to run makes the session refuse every further call.
 */
export class PolicySession implements Disposable {
  readonly #options: PolicySessionOptions;
  readonly #parts: EngineParts;
  readonly #calls: Calls;
  #store: PolicyStore | undefined;
  #state: DecodeState | undefined;
  /** Index of the keys in the cache, of policies that rank within layers; made before tokens leave the device. */
  #ranking: LayerRanking | undefined;
  #blocks: TurnBlocks | undefined;
  readonly #ahead: RunAhead;
  /** What the sequences continue with, where a step has told. */
  #next: readonly number[] | undefined;
  /** Sequences that were put in place since the last step: the device has not chosen any of their tokens yet. */
  readonly #placed = new Set<number>();

  /**
   * Allocates caches and activations.
   *
   * @param pair Models.
   * @param options Policy and budget of all sequences or of each, sizes.
   * @throws {RequirementError} If a policy needs a small model and there is none, or its vocabulary differs.
   * @throws {RequirementError} If the sequences cannot run together, or the small model cannot be made cheaper as asked.
   */
  constructor(pair: ModelPair, options: PolicySessionOptions) {
    const capacity = wholeCapacity(options.capacity);
    const batch = sequenceSettings(options, pair.large.config);
    for (const { policy } of batch.settings) checkPair(pair, policy);
    checkCut(batch.settings, options, pair.small);
    checkFit(options.match ?? {}, batch.settings.map(({ policy }) => policy));
    const { chunk = defaultChunk(pair.large.device.info) } = options;
    checkTurnBlock(batch.settings, { ...options, chunk: Math.min(chunk, capacity) });
    this.#options = { ...options, capacity };
    const isSmallUsed = batch.settings.some(({ policy }) => policy.saliencySource === "small");
    this.#calls = new Calls("session", isSmallUsed ? [pair.large, pair.small!] : [pair.large]);
    this.#parts = createEngineParts(pair, batch, this.#options);
    this.#ahead = new RunAhead(this.#parts, (state) => this.#submit(state, true));
  }

  /**
   * What each sequence is decoded under, with policies that know the windows of the large model's layers.
   *
   * @internal
   */
  get settings(): readonly SequenceSetting[] {
    return this.#parts.batch.settings;
  }

  /** Tokens of each sequence in the cache. */
  get lengths(): readonly number[] {
    return this.#parts.large.lengths;
  }

  /**
   * Runs a prompt with both models; nothing is dropped before the first decode step, unless a policy prunes prompts.
   *
   * A further turn continues the sequence. Where dropped tokens may return, it sees all of them, its rows are added to
   * the small model's scores, and the next step chooses again. Where they are gone, it is run token by token, each token
   * seeing what is kept at that point, or in blocks of `turnBlock` tokens.
   *
   * @param tokens Token ids; for a further turn all that the cache does not hold, including the newest chosen token.
   * @param options Which sequence, or which ones begin with this prompt; progress, signal.
   * @throws {RequirementError} If sequences that share a small model do not begin together, several would be run token by token,
   *   or another call has not ended.
   * @throws {GpuError} If the device runs out of memory. As after an abort, the sequences then hold no tokens, or those
   *   before the turn; others are unaffected, and the prompt can be run again.
   */
  async prefill(tokens: readonly number[], options: PromptOptions = {}): Promise<void> {
    using _call = this.#calls.begin("run a prompt");
    using _activations = this.#options.activations?.begin("run a prompt");
    const { sequence = 0, ...events } = options;
    const indices = typeof sequence === "number" ? [sequence] : sequence;
    this.#checkSequences(indices);
    await this.#settle();
    this.#next = undefined;
    try {
      const isTurn = indices.some((index) => this.lengths[index]! > 0);
      if (isTurn) await this.#continue(tokens, { ...events, indices });
      else await this.#begin(tokens, { ...events, indices });
    } catch (error) {
      throw memoryAdvice(error);
    }
  }

  /**
   * Reads the token that each sequence continues with.
   *
   * @returns Token ids, one per sequence.
   * @throws {RequirementError} If a sequence has no prompt, or another call has not ended.
   */
  async nextTokens(): Promise<number[]> {
    using _call = this.#calls.begin("read the next tokens", { isRead: true });
    return await this.#parts.large.nextTokens();
  }

  /**
   * Runs one token of every sequence and chooses the next.
   *
   * @param options Tokens to run instead of the chosen ones; whether logits are read.
   * @returns What was chosen and what was seen.
   * @throws {RequirementError} If the cache is full, a sequence has no prompt, sequences that share a small model would read
   *   different tokens, or another call has not ended.
   * @throws {GpuError} If the device runs out of memory; the first step can be tried again then.
   */
  async step(options: StepOptions = {}): Promise<StepReport> {
    using _call = this.#calls.begin("decode");
    using _activations = this.#options.activations?.begin("decode");
    try {
      return await this.#step(options);
    } catch (error) {
      throw memoryAdvice(error);
    }
  }

  async #step(options: StepOptions): Promise<StepReport> {
    const { large, sequences } = this.#parts;
    const { tokens, logits = false, hasSelections = true, ahead = 1 } = options;
    checkInteger("decode", "ahead", { value: ahead, min: 1 });
    const isQuiet = !tokens && !logits && !hasSelections;
    if (isQuiet && this.#ahead.pending > 0) return await this.#takeAhead(0);
    await this.#settle();
    checkInteger("decode", "tokens of every sequence", {
      value: Math.min(...this.lengths),
      min: 1,
    });
    const room = { value: Math.max(...this.lengths) + 1, max: this.#options.capacity - 1 };
    checkInteger("decode", "tokens of the longest sequence", room);
    sequences.checkTokens(tokens);
    const next = tokens && (this.#next ?? await large.nextTokens());
    try {
      if (tokens) large.replaceNext(tokens);
      await sequences.matchIfNeeded();
      if (this.#state) await this.#ranking?.refresh(sequences.indexed(this.#placed));
      else this.#state = await this.#start();
      await this.#parts.smallModel?.open(this.#parts, large.forward);
    } catch (error) {
      if (next) large.replaceNext(next);
      throw error;
    }
    const state = this.#state;
    const steps = isQuiet ? await this.#ahead.steps(state, ahead) : 1;
    const report = await this.#calls.change(async () => {
      if (steps === 1) return await this.#run(state, options);
      await this.#ahead.run(state, steps);
      return await this.#takeAhead(steps);
    });
    this.#placed.clear();
    this.#next = report.chosen;
    return report;
  }

  /** Reports a step that has run. */
  async #takeAhead(stepsRun: number): Promise<StepReport> {
    const chosen = await this.#calls.change(() => this.#ahead.take());
    this.#next = chosen;
    return { chosen, selections: [], churn: [], stepsRun };
  }

  /** Undoes steps that ran ahead and that nobody has taken; every call that is not the next step's begins with it. */
  async #settle(): Promise<void> {
    if (this.#ahead.pending > 0) await this.#calls.change(() => this.#ahead.undo());
  }

  /** Runs a step that is ready, and remembers what it has left behind. */
  async #run(state: DecodeState, options: StepOptions): Promise<StepReport> {
    const { store, planner } = state;
    const { large, sequences, smallModel } = this.#parts;
    const moved = await this.#submit(state);
    large.advance();
    const { hasSelections = true } = options;
    // Read together: one awaited read costs as much as all of them.
    const [chosen, logits, scores, lists, vectors] = await Promise.all([
      large.nextTokens(),
      options.logits ? readLogits(large.forward, this.lengths.length) : undefined,
      sequences.readAfter(),
      hasSelections ? planner?.read() : undefined,
      store.takeNewest(this.lengths, sequences.readsVectors),
      smallModel?.finish(),
    ]);
    const seen = lists ? this.#take(lists) : sequences.selections;
    const migration = lists ? store.account(seen) : moved;
    const dropsAfter = sequences.planAfter(scores, vectors);
    if (!hasSelections) return { chosen, selections: [], churn: [], ...(logits && { logits }) };
    return {
      chosen,
      selections: seen,
      churn: sequences.churn,
      ...(logits && { logits }),
      ...(migration && { migration }),
      ...(dropsAfter && { after: sequences.selections }),
    };
  }

  /** Bytes of keys and values now. */
  async memory(): Promise<PolicyMemory> {
    using _call = this.#calls.begin("count bytes");
    await this.#settle();
    const state = this.#state;
    const smallModel = this.#parts.smallModel?.memory;
    if (state?.planner) this.#take(await state.planner.read());
    const { headDim, kvHeads, layers } = this.#parts.large.model.config;
    return {
      largeCacheBytes: state?.deviceBytes ?? this.#parts.large.cacheBytes,
      largeCacheBytesIdeal: 2 * headDim * this.#parts.sequences.heldRows(layers * kvHeads) +
        this.#indexBytes(this.lengths),
      smallCacheBytes: smallModel?.deviceBytes ?? 0,
      smallCacheBytesIdeal: smallModel?.idealBytes ?? 0,
      hostBytes: (state?.store.hostBytes ?? 0) + (smallModel?.hostBytes ?? 0),
    };
  }

  /**
   * Begins a sequence with a prompt that was run elsewhere, or continues one of another session, in place of what it holds.
   *
   * @param index Which sequence; the snapshot's policy, budget and capacity must be its own.
   * @param snapshot The prompt or the sequence.
   * @throws {RequirementError} If the store is tiered and steps have been run.
   * @internal
   */
  async put(index: number, snapshot: PromptSnapshot | SequenceSnapshot): Promise<void> {
    using _call = this.#calls.begin("replace a sequence");
    this.#checkSequences([index]);
    await this.#settle();
    this.#store?.forget(index);
    this.#parts.rest?.forget(index);
    this.#next = undefined;
    this.#placed.add(index);
    const parts = this.#parts;
    await this.#calls.change(() =>
      Symbol.dispose in snapshot
        ? resumeSequence(parts, index, snapshot)
        : beginFrom(parts, index, snapshot)
    );
  }

  /**
   * Copies a sequence out, to be put into another session; here it must not be run any more.
   *
   * @internal
   */
  async take(index: number): Promise<SequenceSnapshot> {
    using _call = this.#calls.begin("take a sequence");
    await this.#settle();
    return await takeSequence(this.#parts, index);
  }

  /**
   * Tells whether further turns of a sequence see all of it, and can be run by `prefill`; they are given to steps otherwise.
   *
   * @internal
   */
  hasWholeTurns(index: number): boolean {
    return hasWholeTurns(this.#parts.batch, index);
  }

  /**
   * Bytes of the keys and values that are kept of one sequence now, by counting them; see `PolicyMemory`.
   *
   * @internal
   */
  async keptBytes(index: number): Promise<{ readonly large: number; readonly small: number }> {
    using _call = this.#calls.begin("count bytes");
    await this.#settle();
    const { large, sequences, smallModel, batch } = this.#parts;
    await this.#readLists([index]);
    const sequence = sequences.all[index]!;
    const { headDim, kvHeads, layers } = large.model.config;
    const smallSequence = batch.smallSequences[index];
    return {
      large: 2 * headDim * sequences.heldRows(layers * kvHeads, [sequence]) +
        this.#indexBytes([this.lengths[index]!]),
      small: smallSequence === undefined ? 0 : smallModel!.idealBytes(smallSequence),
    };
  }

  /** Frees caches and activations, as the end of `using` does. */
  close(): void {
    this.#calls.close();
    this.#ahead[Symbol.dispose]();
    this.#blocks?.[Symbol.dispose]();
    this.#state?.[Symbol.dispose]();
    this.#ranking?.[Symbol.dispose]();
    this.#store?.[Symbol.dispose]();
    this.#parts[Symbol.dispose]();
  }

  /** Closes it. */
  [Symbol.dispose](): void {
    this.close();
  }

  #checkSequences(indices: readonly number[]): void {
    const max = this.lengths.length - 1;
    const action = "run a prompt";
    checkInteger(action, "number of sequences", { value: indices.length, min: 1, max: max + 1 });
    for (const value of indices) checkInteger(action, "sequence", { value, min: 0, max });
    const different = { value: new Set(indices).size, min: indices.length };
    checkInteger(action, "number of different sequences", different);
  }

  /** Runs the prompt with which sequences begin. */
  async #begin(
    tokens: readonly number[],
    { indices, ...events }: PromptEvents & { readonly indices: readonly number[] },
  ): Promise<void> {
    const { large, smallModel, sequences, rest } = this.#parts;
    const promptSequences = sequences.begin(indices, tokens.length);
    for (const index of indices) rest?.forget(index);
    const models = {
      large,
      ...(smallModel && { small: smallModel.session }),
      match: this.#options.match ?? {},
    };
    const needsSums = smallModel?.needsSums ?? false;
    try {
      const state = await runPrompt(models, tokens, { ...events, promptSequences, needsSums });
      await sequences.startFrom(promptSequences, tokens.length, state);
    } catch (error) {
      forgetPrompt(this.#parts, indices);
      throw error;
    }
  }

  async #continue(
    tokens: readonly number[],
    options: PromptEvents & { readonly indices: readonly number[] },
  ): Promise<void> {
    const longest = Math.max(...options.indices.map((index) => this.lengths[index]!));
    const room = this.#options.capacity - 1 - longest;
    checkTokens(tokens, { vocabulary: this.#parts.large.model.config.vocabulary, room });
    if (options.indices.every((index) => hasWholeTurns(this.#parts.batch, index))) {
      await this.#readLists(this.lengths.keys()); // they are lost with the state
      for (const index of options.indices) this.#placed.add(index);
      if (this.#store) await restoreFullCache(this.#parts.large, this.#store);
      this.#state?.[Symbol.dispose]();
      this.#ranking?.[Symbol.dispose]();
      this.#state = this.#store = this.#ranking = undefined; // until the next step
      return await runTurn(this.#parts, tokens, options);
    }
    const count = { value: this.lengths.length, min: 1, max: 1 };
    checkInteger("continue token by token", "number of sequences", count);
    const { turnBlock = 1 } = this.#options;
    if (turnBlock === 1) {
      return await stepThrough((step) => this.#step(step), tokens, options);
    }
    const state = this.#state ??= await this.#start();
    const sequence = this.#parts.sequences.all[0]!;
    this.#blocks ??= new TurnBlocks({ ...state, ...this.#parts, sequence }, turnBlock);
    await this.#blocks.run(tokens, options);
  }

  /** Records what the device has chosen for some sequences, except for those that have been put in place since. */
  async #readLists(indices: Iterable<number>): Promise<void> {
    const planner = this.#state?.planner;
    if (!planner) return;
    const lists = await planner.read();
    for (const index of indices) {
      if (this.#placed.has(index)) continue;
      this.#parts.sequences.all[index]!.takeLists(this.lengths[index]!, lists[index]!);
    }
  }

  /** Bytes that an index of keys needs for sequences of some lengths, also before the first step makes it. */
  #indexBytes(lengths: readonly number[]): number {
    const { large: { model: { config } }, batch: { index } } = this.#parts;
    if (!index) return 0;
    const sizes = { headDim: config.headDim, heads: config.layers * config.kvHeads };
    return lengths.filter((tokens) => tokens > 0)
      .reduce((sum, tokens) => sum + indexBytes(index, { ...sizes, tokens }), 0);
  }

  /**
   * Submits a step of both models, including the choice of tokens; returns what a choice on the host moved, unless the step
   * may be undone.
   */
  async #submit(state: DecodeState, mayUndo = false): Promise<Migration | undefined> {
    const { store, large, planner, ranking } = state;
    const { large: session, smallModel, sequences, rest, batch } = this.#parts;
    const { device } = session.forward;
    session.writeLengths();
    rest?.prepare(this.lengths.map((length) => length + 1), sequences.restMasses);
    await smallModel?.read(session, batch.firstReaders);
    const small = smallModel ? [smallModel.prepare()] : [];
    let moved: Migration | undefined;
    if (planner) device.submit(...small, ...planner.prepare(sequences.tiers()), ...large);
    else if (ranking) moved = await this.#submitLayers({ ...state, ranking });
    else {
      if (small.length > 0) device.submit(...small);
      await sequences.planBefore();
      if (mayUndo) store.list(sequences.selections, sequences.matches);
      else moved = store.apply(sequences.selections, sequences.matches);
      device.submit(...large);
    }
    return moved;
  }

  /** Submits the large model's step layer by layer; the host chooses the tokens of each once its queries have ranked them. */
  async #submitLayers(
    { store, large, ranking }: DecodeState & { readonly ranking: LayerRanking },
  ): Promise<Migration | undefined> {
    const { large: { forward: { device } }, sequences } = this.#parts;
    const isPlanned = sequences.beginLayers();
    const counts: SlotCounts[] = [];
    for (const [layer, part] of large.slice(0, -1).entries()) {
      device.submit(part);
      const scores = isPlanned.includes(true) ? await ranking.read(layer) : [];
      sequences.planLayer(layer, scores, isPlanned);
      const moved = store.applyLayer(layer, sequences.selections, sequences.matches);
      if (moved) counts.push(moved);
    }
    device.submit(large.at(-1)!);
    return counts.length > 0 ? store.migration(counts) : undefined;
  }

  /** Records what the device has chosen for the newest step. */
  #take(lists: Selection[][]): readonly (readonly Selection[])[] {
    this.#parts.sequences.take(lists, this.lengths);
    return this.#parts.sequences.selections;
  }

  /** Moves the prompts' cache to its store and records the steps; resumes where an earlier attempt ran out of memory. */
  async #start(): Promise<DecodeState> {
    const { store: kind = "resident", isPlannedOnHost = false } = this.#options;
    const { large: { forward }, sequences, rest } = this.#parts;
    this.#ranking ??= await LayerRanking.create({ ...this.#parts, forward }, sequences.indexed());
    if (this.#ranking) {
      sequences.all.forEach(({ match }, index) =>
        forward.device.write(this.#parts.buffers.match, match.byteLength * index, match)
      );
    }
    if (kind === "tiered" && !this.#store) await rest?.addPrompts(forward, this.lengths);
    this.#store ??= await PolicyStore.create({
      ...this.#parts,
      forward,
      lengths: this.lengths,
      kind,
    });
    const step = { ...this.#parts, ...(this.#ranking && { ranking: this.#ranking }) };
    return await startDecoding(this.#store, step, { kind, isPlannedOnHost });
  }
}
