/**
 * Prompts that many settings begin with: each is run once, and what consecutive ones share, once for all of them.
 *
 * @see docs/method.md, "Answers under many settings"
 * @module
 */

import { summedTokens } from "../scoring/head_matching.ts";
import { DEFAULT_FIT_ROWS, type RowCapture } from "../scoring/map_fitting.ts";
import { PLAIN_SCORES, scoreKey } from "../selection/sequence_settings.ts";
import { Session } from "../session/session.ts";
import { type PromptStart, runLargeModel, withSums } from "./prompt.ts";
import {
  type Beginning,
  isFitting,
  matchedTokens,
  type Place,
  type PromptSetting,
  rowCapture,
  SHARED,
  WHOLE,
} from "./prompt_beginnings.ts";
import { queryTap } from "./prompt_parts.ts";
import { runPrunedPrompt } from "./pruned_prompt.ts";
import { PolicySequence } from "./sequence.ts";
import { type SmallPrefix, SmallPrompts } from "./small_prompts.ts";
import type { PromptSnapshot } from "./snapshots.ts";
import type { ModelPair } from "./types.ts";

/** Sizes of a runner. */
interface RunnerOptions {
  /** What prompts are run for. */
  readonly settings: readonly PromptSetting[];
  /** Tokens that fit a sequence of the sessions that prompts are put into, a multiple of four. */
  readonly capacity: number;
  /** Rows of one prefill step. */
  readonly chunk: number;
}

/** A prompt. */
export interface PromptRequest {
  /** First tokens, which the prompt before or after may share. */
  readonly prefix: readonly number[];
  /** The tokens after them. */
  readonly rest: readonly number[];
  /** Indices of the settings that it is run for. */
  readonly settings: readonly number[];
}

/** What is told of a prompt while it runs. */
export interface PromptRunEvents {
  /** Stops between chunks with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Receives the logits after the prompt, f32 [vocabulary], and the settings that they are of. */
  readonly onLogits?: (logits: Float32Array, settings: readonly number[]) => void;
}

/** A prompt that has been run. Disposing it frees it. */
export interface RanPrompt extends Disposable {
  /** What each setting begins with. */
  readonly snapshots: ReadonlyMap<number, PromptSnapshot>;
  /** Tokens that the large model has run, those of a new prefix included. */
  readonly tokens: number;
  /** Bytes on the device. */
  readonly byteLength: number;
}

/** Where sequences that share a run of their prompt are run, and what owns the result. */
interface GroupPlace extends PromptRunEvents {
  readonly place: Place;
  readonly known?: KnownPrefix;
  readonly stack: DisposableStack;
}

/** The first tokens of the newest prompt, whose keys and values both models still have. */
interface KnownPrefix {
  readonly tokens: readonly number[];
  readonly large: PromptStart;
  /** By what runs of the small model. */
  readonly small: ReadonlyMap<string, SmallPrefix>;
  /** Sequences whose scores have read its queries, by setting. */
  readonly readers: ReadonlyMap<number, PolicySequence>;
}

/** Runs prompts. Disposing it frees caches and activations. */
export class PromptRunner implements Disposable {
  readonly #pair: ModelPair;
  readonly #settings: readonly PromptSetting[];
  readonly #capacity: number;
  readonly #chunk: number;
  readonly #large: Session;
  /** Whether a policy ranks by sums of the large model's attention. */
  readonly #isSummed: boolean;
  readonly #small: SmallPrompts;
  readonly #owned: DisposableStack;
  #known: KnownPrefix | undefined;

  /**
   * Allocates caches and activations of two sequences.
   *
   * @throws {GpuError} If the device has too little memory.
   */
  constructor(pair: ModelPair, { settings, capacity, chunk }: RunnerOptions) {
    this.#pair = pair;
    this.#settings = settings;
    this.#capacity = capacity;
    this.#chunk = Math.min(chunk, capacity);
    this.#isSummed = settings.some(({ policy: { saliencySource, score } }) =>
      saliencySource === "large" && score?.reads === "sums"
    );
    const masked = settings.some(({ policy }) => policy.prune !== undefined);
    const sizes = { capacity, chunk: this.#chunk, sequences: 2, holdsAll: true }; // prompts go back to a prefix
    using stack = new DisposableStack();
    this.#large = stack.use(
      new Session(pair.large, { ...sizes, accumulate: this.#isSummed, masked }),
    );
    if (masked) this.#large.setVisible(() => true);
    this.#small = stack.use(new SmallPrompts(pair, { ...sizes, settings }));
    this.#owned = stack.move();
  }

  /**
   * Runs a prompt.
   *
   * @param request The prompt, which must fit.
   * @param events Signal, receiver of logits.
   * @returns A snapshot for each setting.
   */
  async run(request: PromptRequest, events: PromptRunEvents = {}): Promise<RanPrompt> {
    const { prefix, rest, settings } = request;
    const tokens = [...prefix, ...rest];
    const all = settings.map((setting) => this.#beginning(setting, tokens.length));
    const exact = all.filter(({ sequence }) => !sequence.isPruned);
    const shared = this.#sharedTokens(prefix, exact);
    let ran = 0;
    using stack = new DisposableStack();
    const snapshots = new Map<number, PromptSnapshot>();
    const add = async (group: readonly Beginning[], place: GroupPlace) => {
      if (group.length === 0) return;
      const run = await this.#runGroup(tokens, group, place);
      for (const [setting, snapshot] of run) snapshots.set(setting, snapshot);
      ran += tokens.length - (place.known?.tokens.length ?? 0);
    };
    try {
      if (shared > 0) {
        const known = await this.#knowPrefix(prefix.slice(0, shared), events.signal);
        ran += known.isNew ? shared : 0;
        await add(exact, { ...events, stack, place: SHARED, known: known.prefix });
      } else {
        await add(exact, { ...events, stack, place: WHOLE });
      }
      // What a row sees depends on the whole prompt there.
      for (const one of all.filter(({ sequence }) => sequence.isPruned)) {
        await add([one], { ...events, stack, place: WHOLE });
      }
    } catch (error) {
      this.#known = undefined; // a part of it may have been removed
      throw error;
    }
    const owned = stack.move();
    const saved = [...snapshots.values()].flatMap(({ large, small }) =>
      small ? [large, small] : large
    );
    return {
      snapshots,
      tokens: ran,
      byteLength: [...new Set(saved)].reduce((sum, { byteLength }) => sum + byteLength, 0),
      [Symbol.dispose]: () => owned.dispose(),
    };
  }

  /** Frees caches and activations. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  /** The state with which a sequence begins a prompt. */
  #beginning(setting: number, promptTokens: number): Beginning {
    const options = this.#settings[setting]!;
    const { policy, budget } = options;
    const small = this.#small.modelOf(options);
    const sequence = new PolicySequence({
      ...{ policy, budget, promptTokens, capacity: this.#capacity },
      config: this.#pair.large.config,
      ...(small && { smallConfig: small.config }),
    });
    return { setting, options, index: WHOLE, smallSequence: small && WHOLE, sequence };
  }

  /** Counts the first tokens of a prefix that need not be run again: whole chunks that no score looks at row by row. */
  #sharedTokens(prefix: readonly number[], sequences: readonly Beginning[]): number {
    // Own tokens at the end of a prefix depend on what follows.
    if (sequences.length === 0 || this.#small.hasOwnTokens) return 0;
    const rows = Math.max(
      isFitting(sequences) ? DEFAULT_FIT_ROWS : 1,
      ...sequences.map(({ sequence }) => sequence.promptRows),
    );
    const chunks = Math.floor((prefix.length + 1 - rows) / this.#chunk);
    const shared = Math.max(0, chunks * this.#chunk);
    // Heads are matched by the first tokens, which the prefix must have.
    const matched = this.#small.isUsed ? summedTokens({}, prefix.length + 1) : 0;
    return shared >= matched ? shared : 0;
  }

  /** Runs a prefix unless the newest one is the same. */
  async #knowPrefix(
    tokens: readonly number[],
    signal: AbortSignal | undefined,
  ): Promise<{ readonly prefix: KnownPrefix; readonly isNew: boolean }> {
    const known = this.#known;
    const isKnown = known?.tokens.length === tokens.length &&
      known.tokens.every((token, index) => token === tokens[index]);
    if (isKnown) return { prefix: known, isNew: false };
    this.#known = undefined;
    const prefix = await this.#runPrefix(tokens, signal ? { signal } : {});
    this.#known = prefix;
    return { prefix, isNew: true };
  }

  async #runPrefix(
    tokens: readonly number[],
    events: { readonly signal?: AbortSignal },
  ): Promise<KnownPrefix> {
    const all = this.#settings.map((_, setting) => this.#beginning(setting, tokens.length));
    const scores = all.flatMap(({ sequence: { largeScores } }) => largeScores ?? []);
    this.#large.rewind(0, SHARED);
    if (this.#isSummed) this.#large.clearAccumulated();
    const window = this.#matchedTokens(all, tokens.length);
    const largeSums = await withSums(
      this.#large,
      window,
      (exactSums) =>
        this.#large.prefill(tokens, {
          ...{ sequence: SHARED, logits: "none", isSummed: this.#isSummed, ...events },
          ...queryTap(scores.map((one) => ({ scores: one }))),
          ...exactSums,
        }),
    );
    const sums = new Map<string, Float32Array>();
    if (this.#isSummed) sums.set(PLAIN_KEY, await this.#large.accumulated(SHARED));
    const small = await this.#small.runPrefix(tokens, all, { largeSums, ...events });
    return {
      tokens,
      large: { tokens: tokens.length, sums },
      small,
      readers: new Map(all.map(({ setting, sequence }) => [setting, sequence])),
    };
  }

  /** Runs a prompt for sequences that see the same of it. */
  async #runGroup(
    tokens: readonly number[],
    group: readonly Beginning[],
    options: GroupPlace,
  ): Promise<Map<number, PromptSnapshot>> {
    const { place, known, stack } = options;
    for (const { setting, sequence } of known ? group : []) {
      const reader = known!.readers.get(setting)!;
      if (reader.largeScores) sequence.largeScores!.copyQueries(reader.largeScores);
      if (reader.small) sequence.small!.copyQueries(reader.small);
    }
    const { config } = this.#pair.large;
    const capture = rowCapture(group, config, { tokens: tokens.length, isGrouped: true });
    const largeSums = await this.#runLarge(tokens, group, {
      ...options,
      ...(capture && { capture }),
    });
    const large = stack.use(await this.#large.save(place));
    const small = await this.#small.run(tokens, group, {
      ...{ stack, place, largeSums },
      ...(options.signal && { signal: options.signal }),
      ...(known && { prefixes: known.small }),
      ...(capture && { largeRows: capture.rows }),
    });
    return new Map(
      group.map(({ setting, sequence }) => [setting, { large, sequence, ...small.get(setting) }]),
    );
  }

  /** Runs the large model's prompt; returns the sums that heads are matched by, unless they are known or not needed. */
  async #runLarge(
    tokens: readonly number[],
    group: readonly Beginning[],
    { place, known, signal, onLogits, capture }: GroupPlace & { readonly capture?: RowCapture },
  ): Promise<Float32Array | undefined> {
    const settings = group.map(({ setting }) => setting);
    const events = {
      ...(signal && { signal }),
      ...(onLogits && { onLogits: (logits: Float32Array) => onLogits(logits, settings) }),
    };
    this.#large.rewind(known?.tokens.length ?? 0, place);
    if (this.#isSummed) this.#large.clearAccumulated(known?.large.sums.get(PLAIN_KEY));
    const [first] = group;
    if (first!.sequence.isPruned) {
      await runPrunedPrompt(this.#large, tokens, { ...events, promptSequence: first! });
      return undefined;
    }
    const window = known ? 0 : this.#matchedTokens(group, tokens.length);
    return await withSums(this.#large, window, (exactSums) =>
      runLargeModel(this.#large, tokens, {
        ...{ sequence: place, promptSequences: group, ...events, ...exactSums },
        ...(known && { start: known.large }),
        ...(capture && { capture }),
      }));
  }

  #matchedTokens(sequences: readonly Beginning[], tokens: number): number {
    return matchedTokens(sequences, { tokens, hasOwnTokens: this.#small.hasOwnTokens });
  }
}

const PLAIN_KEY = scoreKey(PLAIN_SCORES);
