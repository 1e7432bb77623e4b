/**
 * A model with its cache: prefill, greedy decoding, accumulated attention, chosen attention maps.
 *
 * @module
 */

import type { FullCache } from "../../cache/full_cache.ts";
import { checkInteger, RequirementError } from "../../core/check.ts";
import type { Model } from "../../models/load.ts";
import type { ForwardState } from "../../models/forward/forward.ts";
import { Calls, checkOpen } from "./calls.ts";
import { forkCache } from "./fork_cache.ts";
import { createForwardState } from "./forward_state.ts";
import { HeldTokens } from "./held_tokens.ts";
import { MapReader } from "./maps.ts";
import { defaultChunk, Pace, waitIsCheap } from "./pace.ts";
import { type Chunk, runChunk } from "./prompt_chunk.ts";
import { SavedSequence } from "./saved_sequence.ts";
import { keepWindows, type SequenceMark } from "./sequence_mark.ts";
import type { PrefillOptions, SessionOptions } from "./session_options.ts";
import { checkChosen, checkTokens } from "./step_io.ts";
import { StepRunner } from "./step_runner.ts";
import { clearSums, readSums, writeSums, writeVisible } from "./taps.ts";

/** Decode steps per submission: enough to hide a readback, few enough to stay interruptible. */
const STEPS_PER_SUBMIT = 16;
/** Most rows that steps of callers write after the tokens that they keep: a block of drafts, or steps that run ahead. */
export const DRAFT_ROWS = 16;

/**
 * A running model, for one conversation or batch. Closing it frees cache and activations.
 *
 * One call at a time: another one is refused until the last has ended. A call that fails or is aborted leaves the session
 * as it was before, except for sums of attention, which must then be cleared before they are read.
 */
export class Session implements Disposable {
  /** Model that runs. */
  readonly model: Model;
  #state: ForwardState;
  #runner: StepRunner;
  readonly #maps: MapReader;
  readonly #lengths: number[];
  /** Tokens that layers with a window still hold. */
  readonly #held: HeldTokens;
  /** Whether the token that each sequence continues with is on the device. */
  readonly #hasNext: boolean[];
  /** Sequences whose sums hold a part of a call that failed. */
  readonly #partSums = new Set<number>();
  readonly #calls: Calls;
  readonly #pace = new Pace();
  readonly #chunk: number;
  readonly #owned: DisposableStack;

  /**
   * Allocates cache and activations.
   *
   * @param model Model to run.
   * @param options Sizes and extras.
   * @throws {RequirementError} If the capacity exceeds the model's context length, or the model has been closed.
   * @throws {GpuError} If the device has too little memory.
   */
  constructor(model: Model, options: SessionOptions) {
    checkOpen(model, "start a session");
    this.#calls = new Calls("session", [model]);
    const { config, device } = model;
    const { capacity, sequences = 1 } = options;
    const tokens = { value: capacity, min: 1, max: config.contextLength };
    checkInteger("start a session", "capacity in tokens", tokens);
    checkInteger("start a session", "sequences", { value: sequences, min: 1 });
    const chunk = options.chunk ?? defaultChunk(device.info);
    checkInteger("start a session", "chunk in tokens", { value: chunk, min: 1 });
    using stack = new DisposableStack();
    this.model = model;
    this.#chunk = Math.min(chunk, capacity);
    this.#lengths = new Array<number>(sequences).fill(0);
    this.#hasNext = new Array<boolean>(sequences).fill(false);
    this.#state = createForwardState(model, { ...options, chunk: this.#chunk }, stack);
    this.#held = new HeldTokens(this.#state.cache.shape, config);
    this.#runner = new StepRunner(this.#state, this.#chunk);
    this.#maps = stack.use(new MapReader(device));
    this.#owned = stack.move();
  }

  /** Tokens of each sequence in the cache. */
  get lengths(): readonly number[] {
    return this.#lengths;
  }

  /**
   * Model and buffers, for callers that run their own steps; see `writeLengths`.
   *
   * @internal
   */
  get forward(): ForwardState {
    return this.#state;
  }

  /** Writes the length of each sequence to the device, before a step of all of them. */
  writeLengths(): void {
    const { device, workspace: { state } } = this.#state;
    device.write(state, 0, Uint32Array.of(0, ...this.#lengths));
  }

  /**
   * Reads all tokens, including the chosen next one of each sequence.
   *
   * @returns Token ids, [sequences, capacity].
   */
  async readTokens(): Promise<Uint32Array> {
    using _call = this.#calls.begin("read tokens", { isRead: true });
    return await this.#readTokens();
  }

  async #readTokens(): Promise<Uint32Array> {
    const { device, workspace: { tokens } } = this.#state;
    return new Uint32Array(await device.read(tokens));
  }

  /**
   * Puts other tokens in place of those that sequences would continue with.
   *
   * @param tokens One per sequence.
   * @throws {RequirementError} If there is not one per sequence, one is not in the vocabulary, or a sequence is full.
   */
  replaceNext(tokens: readonly number[]): void {
    const action = "force tokens";
    using _call = this.#calls.begin(action);
    const { device, workspace: { shape: { capacity }, ...workspace }, config } = this.#state;
    const count = { value: tokens.length, min: this.#lengths.length, max: this.#lengths.length };
    checkInteger(action, "number of tokens", count);
    for (const value of tokens) {
      checkInteger(action, "token id", { value, min: 0, max: config.vocabulary - 1 });
    }
    const longest = { value: Math.max(...this.#lengths), max: capacity - 1 };
    checkInteger(action, "tokens of the longest sequence", longest);
    tokens.forEach((value, sequence) => {
      const place = sequence * capacity + this.#lengths[sequence]!;
      device.write(workspace.tokens, 4 * place, Uint32Array.of(value));
      this.#hasNext[sequence] = true;
    });
  }

  /** Advances lengths by tokens that a caller has run, with the choice of the next one: in every sequence, or in one. */
  advance(tokens = 1, sequence?: number): void {
    this.#lengths.forEach((length, index) => {
      if (sequence !== undefined && sequence !== index) return;
      this.#setLength(index, length + tokens);
      this.#held.write(index, length + DRAFT_ROWS);
    });
  }

  /**
   * Moves every length by at most `DRAFT_ROWS` steps that run before anybody has taken their tokens; `advance` counts them
   * one by one as they are taken, and has told layers with a window of such rows.
   *
   * @internal
   */
  shift(steps: number): void {
    this.#lengths.forEach((length, sequence) => this.#lengths[sequence] = length + steps);
  }

  /**
   * Remembers where a sequence ends and what it continues with, and copies what further tokens overwrite of layers that hold
   * only the newest.
   *
   * @param sequence Which sequence.
   * @param further Tokens that may be appended before it is put back.
   * @returns Puts the sequence back, as often as needed; sums of attention stay as they are.
   * @throws {GpuError} If the device has too little memory.
   * @internal
   */
  async mark(sequence: number, further: number): Promise<SequenceMark> {
    const { device, workspace: { tokens, shape } } = this.#state;
    const length = this.#lengths[sequence]!;
    const place = 4 * (sequence * shape.capacity + length);
    const next = this.#hasNext[sequence] ? await device.read(tokens, place, 4) : undefined;
    const windows = await this.#keepWindows(sequence, further);
    return {
      undo: () => {
        this.#setLength(sequence, length, next !== undefined);
        if (next) device.write(tokens, place, new Uint32Array(next));
        windows?.undo();
      },
      [Symbol.dispose]: () => windows?.[Symbol.dispose](),
    };
  }

  /**
   * Replaces the cache by another one of the same shape with the tokens of the sequences.
   *
   * @param cache The cache; disposed with the session. The former one must have been disposed of.
   * @internal
   */
  takeCache(cache: FullCache): void {
    this.#state = { ...this.#state, cache };
    this.#runner[Symbol.dispose]();
    this.#runner = new StepRunner(this.#state, this.#chunk);
  }

  /** Bytes of keys and values. */
  get cacheBytes(): number {
    return this.#state.cache.byteLength;
  }

  /**
   * Runs tokens through the model and appends them to a sequence; if it fails or is aborted, none of them.
   *
   * @param tokens Token ids.
   * @param options What to compute and to capture.
   * @throws {RequirementError} If the tokens do not fit or are not in the vocabulary, or another call has not ended.
   * @throws {GpuError} If requested logits are not finite.
   */
  async prefill(tokens: readonly number[], options: PrefillOptions = {}): Promise<void> {
    const action = "run a model";
    using _call = this.#calls.begin(action);
    const { sequence = 0, isSummed = true, signal } = options;
    this.#checkSequence(action, sequence);
    const { device, workspace: { tokens: target, shape: { capacity } } } = this.#state;
    const start = this.#lengths[sequence]!;
    checkTokens(tokens, { vocabulary: this.model.config.vocabulary, room: capacity - start });
    signal?.throwIfAborted();
    using mark = await this.mark(sequence, tokens.length);
    try {
      device.write(target, 4 * (sequence * capacity + start), Uint32Array.from(tokens));
      for (let done = 0; done < tokens.length; done += this.#chunk) {
        signal?.throwIfAborted();
        const rows = Math.min(this.#chunk, tokens.length - done);
        const isLast = done + rows === tokens.length;
        this.#pace.begin();
        await this.#runChunk({ sequence, start: start + done, rows, isLast }, options);
        if (isLast || waitIsCheap(device.info) || this.#pace.shouldWait) {
          await device.finished();
          this.#pace.waited();
        }
        options.onProgress?.(done + rows);
      }
    } catch (error) {
      this.#pace.forget();
      mark.undo();
      if (isSummed) this.#partSums.add(sequence);
      throw error;
    }
  }

  /**
   * Decodes greedily, all sequences together; every sequence must have been prefilled with logits.
   *
   * @param steps Tokens to append to the cache of each sequence.
   * @returns The tokens chosen after each step, [sequences][steps]; `nextTokens` before it gives the first one.
   * @throws {RequirementError} If the steps do not fit, a sequence has not been prefilled, or another call has not ended.
   * @throws {GpuError} If the logits are not finite.
   */
  async decode(steps: number): Promise<number[][]> {
    using _call = this.#calls.begin("decode");
    this.#checkNext("decode");
    const { capacity } = this.#state.workspace.shape;
    checkInteger("decode", "steps", { value: steps, min: 1 });
    const tokens = { value: Math.max(...this.#lengths) + steps, max: capacity - 1 };
    checkInteger("decode", "tokens of the longest sequence after the steps", tokens);
    using stack = new DisposableStack();
    const kept: (SequenceMark | undefined)[] = [];
    for (const sequence of this.#lengths.keys()) {
      kept.push(stack.use(await this.#keepWindows(sequence, steps)));
    }
    try {
      this.#lengths.forEach((length, sequence) => this.#held.write(sequence, length + steps));
      this.writeLengths();
      for (let done = 0; done < steps; done += STEPS_PER_SUBMIT) {
        await this.#runner.decode(Math.min(STEPS_PER_SUBMIT, steps - done));
      }
      const all = await this.#readTokens();
      const chosen = this.#lengths.map((length, sequence) => {
        const first = sequence * capacity + length + 1;
        return checkChosen(all.subarray(first, first + steps));
      });
      this.advance(steps);
      return chosen;
    } catch (error) {
      for (const windows of kept) windows?.undo();
      for (const sequence of this.#lengths.keys()) this.#partSums.add(sequence);
      throw error;
    }
  }

  /**
   * Reads the token that each sequence continues with.
   *
   * @returns Token ids, one per sequence.
   * @throws {RequirementError} If a sequence has not been prefilled with logits, or another call has not ended.
   * @throws {GpuError} If the logits it was chosen from are not finite.
   */
  async nextTokens(): Promise<number[]> {
    using _call = this.#calls.begin("read the next tokens", { isRead: true });
    this.#checkNext("read the next tokens");
    const { capacity } = this.#state.workspace.shape;
    const tokens = await this.#readTokens();
    const next = this.#lengths.map((length, sequence) => tokens[sequence * capacity + length]!);
    return checkChosen(Uint32Array.from(next));
  }

  /**
   * Removes the end of a sequence, which then continues with the token that came after it; accumulated attention stays as
   * it is.
   *
   * @param length Tokens that remain.
   * @param sequence Which sequence; 0 if left out.
   * @throws {RequirementError} If layers with a window have lost tokens that the sequence would see, unless the session holds
   *   all of them.
   */
  rewind(length: number, sequence = 0): void {
    const action = "rewind";
    using _call = this.#calls.begin(action);
    this.#checkSequence(action, sequence);
    const before = this.#lengths[sequence]!;
    checkInteger(action, "length", { value: length, min: 0, max: before });
    if (length === before) return;
    if (!this.canRewind(length, sequence)) {
      throw new RequirementError({
        action,
        requirement: `length must be 0, or at least ${
          this.#held.shortest(sequence)
        }, since layers with a window hold only the newest tokens unless holdsAll is set`,
        current: length,
      });
    }
    this.#setLength(sequence, length, length > 0);
    if (length === 0) this.#held.clear(sequence);
  }

  /**
   * Tells whether a sequence can continue from an earlier length.
   *
   * @param length Tokens that would remain.
   * @param sequence Which sequence; 0 if left out.
   * @returns False if layers with a window have lost tokens that it would see.
   */
  canRewind(length: number, sequence = 0): boolean {
    return length === 0 || length >= this.#held.shortest(sequence);
  }

  /**
   * Copies a sequence to others: keys, values, tokens and the chosen next one, but not sums of attention.
   *
   * @param sequence The sequence to copy.
   * @param targets Sequences that it is copied to; not itself.
   */
  async fork(sequence: number, targets: readonly number[]): Promise<void> {
    using _call = this.#calls.begin("copy a sequence");
    for (const one of [sequence, ...targets]) this.#checkSequence("copy a sequence", one);
    await forkCache(this.#state, sequence, targets);
    for (const target of targets) {
      this.#held.copy(sequence, target);
      this.#setLength(target, this.#lengths[sequence]!, this.#hasNext[sequence]);
    }
  }

  /**
   * Copies a sequence out, as `restore` takes it; sums of attention stay here.
   *
   * @internal
   */
  async save(sequence: number): Promise<SavedSequence> {
    using _call = this.#calls.begin("save a sequence", { isRead: true });
    const [length, hasNext] = [this.#lengths[sequence]!, this.#hasNext[sequence]!];
    const ranges = this.#held.ranges(sequence, length);
    return await SavedSequence.save(this.#state, { sequence, length, hasNext, ranges });
  }

  /**
   * Puts a saved sequence, which must fit, in place of what a sequence holds; sums of attention stay as they are.
   *
   * @internal
   */
  async restore(saved: SavedSequence, sequence: number): Promise<void> {
    using _call = this.#calls.begin("restore a sequence");
    const { capacity } = this.#state.workspace.shape;
    checkInteger("restore a sequence", "tokens", { value: saved.tokens.length, max: capacity });
    this.#held.set(sequence, await saved.restore(this.#state, sequence));
    this.#setLength(sequence, saved.length, saved.tokens.length > saved.length);
  }

  /**
   * Reads the attention that each token has received so far.
   *
   * @param sequence Which sequence; 0 if left out.
   * @returns Column sums, [layers * queryHeads, tokens].
   * @throws {RequirementError} If the session does not accumulate.
   * @throws {RequirementError} If a call that failed has left a part of its attention, or another call has not ended.
   */
  async accumulated(sequence = 0): Promise<Float32Array> {
    const action = "read accumulated attention";
    using _call = this.#calls.begin(action, { isRead: true });
    this.#checkSequence(action, sequence);
    if (this.#state.taps.sums && this.#partSums.has(sequence)) {
      const requirement = "it must be cleared after a call that failed";
      throw new RequirementError({ action, requirement, state: "sums hold a part of that call" });
    }
    return await readSums(this.#state, { sequence, length: this.#lengths[sequence]! });
  }

  /**
   * Sets all accumulated attention to zero.
   *
   * @param start What the first sequence starts with instead, as `accumulated` returns it.
   */
  clearAccumulated(start?: Float32Array): void {
    using _call = this.#calls.begin("clear accumulated attention");
    clearSums(this.#state);
    if (start) writeSums(this.#state, start);
    this.#partSums.clear();
  }

  /**
   * Restricts what each query head sees; every row must see its own position.
   *
   * @param isVisible Tells whether a flat query head may see a key position.
   * @throws {RequirementError} If the session is not masked.
   */
  setVisible(isVisible: (head: number, position: number) => boolean): void {
    using _call = this.#calls.begin("set visible tokens");
    writeVisible(this.#state, isVisible);
  }

  /** Frees cache and activations, as the end of `using` does. */
  close(): void {
    this.#calls.close();
    this.#runner[Symbol.dispose]();
    this.#state.cache[Symbol.dispose]();
    this.#owned.dispose();
  }

  /** Closes it. */
  [Symbol.dispose](): void {
    this.close();
  }

  #setLength(sequence: number, length: number, hasNext = true): void {
    this.#lengths[sequence] = length;
    this.#hasNext[sequence] = hasNext && length < this.#state.workspace.shape.capacity;
  }

  #checkSequence(action: string, value: number): void {
    checkInteger(action, "sequence", { value, min: 0, max: this.#lengths.length - 1 });
  }

  #checkNext(action: string): void {
    const sequence = this.#hasNext.indexOf(false);
    if (sequence < 0) return;
    const { capacity } = this.#state.workspace.shape;
    throw new RequirementError({
      action,
      requirement: `sequence ${sequence} must have been prefilled with logits, and have room`,
      state: `length is ${this.#lengths[sequence]} of ${capacity}`,
    });
  }

  async #runChunk(chunk: Chunk, options: PrefillOptions): Promise<void> {
    const { sequence, start, rows } = chunk;
    const length = start + rows;
    this.#held.write(sequence, length);
    const parts = { state: this.#state, runner: this.#runner, maps: this.#maps };
    this.#setLength(sequence, length, await runChunk(parts, chunk, options));
  }

  /** Copies what further tokens overwrite of layers that hold only the newest; undefined if that is nothing of use. */
  #keepWindows(sequence: number, further: number): Promise<SequenceMark | undefined> {
    const length = this.#lengths[sequence]!;
    return keepWindows(this.#state, this.#held, { sequence, length, further });
  }
}
