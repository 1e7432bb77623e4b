/**
 * Prompts that many settings begin with: each is run once, and what consecutive ones share, once for all of them.
 *
 * @see docs/method.md, "Answers under many settings"
 * @module
 */

import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import {
  isDeviceScore,
  PLAIN_SCORES,
  scoreKey,
  scoreKind,
  type SequenceSetting,
} from "../selection/sequence_settings.ts";
import {
  type HeadMatches,
  matchBySums,
  type MatchedModels,
  matchText,
  type PairMatchOptions,
  summedTokens,
} from "../scoring/head_matching.ts";
import { DEFAULT_FIT_ROWS, fitCaptured, followMap, RowCapture } from "../scoring/map_fitting.ts";
import { openSmallSession, type SmallSession } from "../scoring/own_tokens.ts";
import type { SmallModelCut } from "../scoring/small_model.ts";
import type { Model } from "../../models/load.ts";
import { firstLayers } from "../../models/forward/first_layers.ts";
import { Session } from "../session/session.ts";
import {
  kindsOf,
  type PromptSequence,
  type PromptStart,
  runLargeModel,
  runSmallModel,
  type SmallModelState,
  withSums,
} from "./prompt.ts";
import { queryTap } from "./prompt_parts.ts";
import type { AttentionRows } from "../../analysis/fitted_map.ts";
import { runPrunedPrompt } from "./pruned_prompt.ts";
import { PolicySequence } from "./sequence.ts";
import { smallRunKey } from "./sequence_bytes.ts";
import type { PromptSnapshot } from "./snapshots.ts";
import type { ModelPair } from "./types.ts";

/** A setting that prompts are run for. */
export type PromptSetting =
  & SequenceSetting
  & Pick<SmallModelCut, "smallLayers" | "smallCacheBits">
  & {
    /** What heads are matched by, or whether a map is fitted in place of a match; the usual if left out. */
    readonly match?: Pick<PairMatchOptions, "by">;
  };

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

/** Setting and state of a sequence that begins with a prompt. */
interface Beginning extends PromptSequence {
  readonly setting: number;
}

/** Where sequences that share a run of their prompt are run, and what owns the result. */
interface GroupPlace extends PromptRunEvents {
  readonly place: typeof SHARED | typeof WHOLE;
  readonly known?: KnownPrefix;
  readonly stack: DisposableStack;
}

/** The sequence that the newest prefix stays in, and the one for prompts that are run whole. */
const SHARED = 0, WHOLE = 1;

/** The first tokens of the newest prompt, whose keys and values both models still have. */
interface KnownPrefix {
  readonly tokens: readonly number[];
  readonly large: PromptStart;
  /** By what runs of the small model. */
  readonly small: ReadonlyMap<string, SmallPrefix>;
  /** Sequences whose scores have read its queries, by setting. */
  readonly readers: ReadonlyMap<number, PolicySequence>;
}

/** What the small model knows of a prefix. */
interface SmallPrefix {
  readonly start: PromptStart;
  readonly matches: MatchesBy;
}

/** Matches by what is maximized. */
type MatchesBy = ReadonlyMap<MatchBy, HeadMatches>;
type MatchBy = NonNullable<PairMatchOptions["by"]>;

/** Runs prompts. Disposing it frees caches and activations. */
export class PromptRunner implements Disposable {
  readonly #pair: ModelPair;
  readonly #settings: readonly PromptSetting[];
  readonly #capacity: number;
  readonly #chunk: number;
  readonly #large: Session;
  /** Whether a policy ranks by sums of the large model's attention. */
  readonly #isSummed: boolean;
  /** Sessions of the small model, by what runs of it. */
  readonly #small = new Map<string, SmallSession>();
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
    for (const setting of settings) {
      const key = this.#smallKey(setting);
      if (key === undefined || this.#small.has(key)) continue;
      const { smallLayers, smallCacheBits: cacheBits } = setting;
      const model = firstLayers(pair.small!, smallLayers ?? pair.small!.config.layers);
      const format = cacheBits !== undefined && { cacheBits };
      const options = { ...sizes, ...format, accumulate: true };
      this.#small.set(key, stack.use(openSmallSession(model, options)));
    }
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

  /** What a setting runs of the small model; undefined if it uses none. */
  #smallKey(setting: PromptSetting): string | undefined {
    return smallRunKey(this.#pair.small, setting);
  }

  /** The session that a setting runs the small model in, if it uses one. */
  #smallOf(setting: PromptSetting): SmallSession | undefined {
    const key = this.#smallKey(setting);
    return key === undefined ? undefined : this.#small.get(key);
  }

  /** The state with which a sequence begins a prompt. */
  #beginning(setting: number, promptTokens: number): Beginning {
    const { policy, budget } = this.#settings[setting]!;
    const small = this.#smallOf(this.#settings[setting]!);
    const sequence = new PolicySequence({
      ...{ policy, budget, promptTokens, capacity: this.#capacity },
      config: this.#pair.large.config,
      ...(small && { smallConfig: small.model.config }),
    });
    return { setting, index: WHOLE, smallSequence: small && WHOLE, sequence };
  }

  /** Counts the first tokens of a prefix that need not be run again: whole chunks that no score looks at row by row. */
  #sharedTokens(prefix: readonly number[], sequences: readonly Beginning[]): number {
    // Own tokens at the end of a prefix depend on what follows.
    if (sequences.length === 0 || this.#hasOwnTokens) return 0;
    const rows = Math.max(
      this.#isFitting(sequences) ? DEFAULT_FIT_ROWS : 1,
      ...sequences.map(({ sequence }) => sequence.promptRows),
    );
    const chunks = Math.floor((prefix.length + 1 - rows) / this.#chunk);
    const shared = Math.max(0, chunks * this.#chunk);
    // Heads are matched by the first tokens, which the prefix must have.
    const matched = this.#small.size > 0 ? summedTokens({}, prefix.length + 1) : 0;
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
    const window = this.#summedTokens(all, tokens.length);
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
    const small = new Map<string, SmallPrefix>();
    for (const [key, session] of this.#small) {
      const readers = all.filter(({ setting }) => this.#smallKey(this.#settings[setting]!) === key);
      const options = { session, largeSums, ...events };
      small.set(key, await this.#runSmallPrefix(tokens, readers, options));
    }
    return {
      tokens,
      large: { tokens: tokens.length, sums },
      small,
      readers: new Map(all.map(({ setting, sequence }) => [setting, sequence])),
    };
  }

  async #runSmallPrefix(
    tokens: readonly number[],
    readers: readonly Beginning[],
    { session, largeSums, ...events }: {
      readonly session: SmallSession;
      readonly largeSums: Float32Array | undefined;
      readonly signal?: AbortSignal;
    },
  ): Promise<SmallPrefix> {
    const policies = readers.map(({ sequence }) => sequence.policy);
    const scores = readers.flatMap(({ sequence }) => sequence.small ?? []);
    const sums = new Map<string, Float32Array>();
    let smallSums: Float32Array | undefined;
    for (const kind of [PLAIN_SCORES, ...policies.filter(isDeviceScore).map(scoreKind)]) {
      // Where fewer rows count than the prefix has, or all count the same, its own sums are not needed.
      if (kind !== PLAIN_SCORES && (kind.decay === 1 || kind.rows < tokens.length)) continue;
      if (sums.has(scoreKey(kind))) continue;
      session.rewind(0, SHARED);
      session.clearAccumulated();
      const isFirst = kind === PLAIN_SCORES;
      const window = isFirst ? this.#summedTokens(readers, tokens.length) : 0;
      const found = await withSums(session, window, (exactSums) =>
        session.prefill(tokens, {
          ...{ sequence: SHARED, logits: "none", rowDecay: kind.decay, ...events },
          ...(isFirst && queryTap(scores.map((one) => ({ scores: one })))),
          ...exactSums,
        }));
      smallSums ??= found;
      sums.set(scoreKey(kind), await session.accumulated(SHARED));
    }
    const windows = { large: largeSums!, small: smallSums! };
    return {
      matches: await this.#match(
        readers,
        session.model,
        (models, options) => matchBySums(models, tokens.length, { ...options, sums: windows }),
      ),
      start: { tokens: tokens.length, sums },
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
    const capture = this.#capture(group, config, { tokens: tokens.length, isGrouped: true });
    const largeSums = await this.#runLarge(tokens, group, {
      ...options,
      ...(capture && { capture }),
    });
    const large = stack.use(await this.#large.save(place));
    const readers = Map.groupBy(group, ({ setting }) => this.#smallKey(this.#settings[setting]!));
    const snapshots = new Map<number, PromptSnapshot>();
    for (const [key, members] of readers) {
      const small = key === undefined ? () => ({}) : await this.#runSmall(tokens, members, {
        ...{ ...options, key, largeSums },
        ...(capture && { largeRows: capture.rows }),
      });
      for (const member of members) {
        snapshots.set(member.setting, { large, sequence: member.sequence, ...small(member) });
      }
    }
    return snapshots;
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
    const window = known ? 0 : this.#summedTokens(group, tokens.length);
    return await withSums(this.#large, window, (exactSums) =>
      runLargeModel(this.#large, tokens, {
        ...{ sequence: place, promptSequences: group, ...events, ...exactSums },
        ...(known && { start: known.large }),
        ...(capture && { capture }),
      }));
  }

  /**
   * Runs the small model's prompt, and matches heads or fits a map if the prompt is long enough for one of the policies.
   *
   * @returns What a member's snapshot has of the small model.
   */
  async #runSmall(
    tokens: readonly number[],
    members: readonly Beginning[],
    { place, key, known, largeSums, largeRows, stack, signal }: GroupPlace & {
      readonly key: string;
      readonly largeSums: Float32Array | undefined;
      readonly largeRows?: AttentionRows;
    },
  ): Promise<(member: Beginning) => Pick<PromptSnapshot, "small" | "state">> {
    const events = signal ? { signal } : {};
    const session = this.#small.get(key)!;
    const prefix = known?.small.get(key);
    const policies = members.map(({ sequence }) => sequence.policy)
      .filter(({ minimumTokens }) => tokens.length >= minimumTokens);
    const isCompressed = members.some(({ setting }) => this.#settings[setting]!.smallBudget);
    session.rewind(prefix?.start.tokens ?? 0, place);
    session.clearAccumulated(prefix?.start.sums.get(PLAIN_KEY));
    let scores: SmallModelState["scores"] = new Map();
    const window = prefix ? 0 : this.#summedTokens(members, tokens.length);
    const text = { tokens: tokens.length, isGrouped: false };
    const capture = this.#capture(members, session.model.config, text);
    const sums = await withSums(session, window, async (exactSums) => {
      scores = await runSmallModel(session, tokens, {
        ...{ sequence: place, promptSequences: members, ...events, ...exactSums },
        ...(capture && { capture }),
        kinds: policies.length > 0 ? kindsOf(policies, isCompressed) : [],
        ...(prefix && { start: prefix.start }),
      });
    });
    const small = stack.use(await session.save(place));
    if (policies.length === 0) return () => ({ small });
    const windows = { large: largeSums!, small: sums! };
    // First tokens of its own may end within the prompt's, whose sums then do not count the same text.
    const matches = prefix?.matches ??
      await this.#match(
        members,
        session.model,
        (models, options) =>
          this.#hasOwnTokens
            ? matchText(models, tokens, { ...options, ...events })
            : matchBySums(models, tokens.length, { ...options, sums: windows }),
      );
    const fitted = capture && largeRows &&
      followMap(
        this.#pair.large.config,
        fitCaptured({ large: largeRows, small: capture.rows }, { by: "fitted" }),
      );
    return (member) => ({
      small,
      state: {
        ...(this.#isFitting([member]) ? fitted! : { matches: matches.get(this.#matchBy(member))! }),
        scores,
      },
    });
  }

  /** Matches heads in each way that a sequence asks for. */
  async #match(
    sequences: readonly Beginning[],
    small: Model,
    find: (
      models: MatchedModels,
      options: { readonly policies: readonly ResolvedPolicy[] },
    ) => HeadMatches | Promise<HeadMatches>,
  ): Promise<MatchesBy> {
    const groups = Map.groupBy(sequences, (one) => this.#matchBy(one));
    groups.delete("fitted");
    const matches = new Map<MatchBy, HeadMatches>();
    for (const [by, members] of groups) {
      const policies = members.map(({ sequence }) => sequence.policy);
      const models = { large: this.#pair.large, small, match: { by } };
      matches.set(by, await find(models, { policies }));
    }
    return matches;
  }

  /** Whether the small model reads in tokens of its own. */
  get #hasOwnTokens(): boolean {
    return this.#pair.small?.givenTokenizer !== undefined;
  }

  #matchBy({ setting }: Beginning): MatchBy {
    return this.#settings[setting]!.match?.by ?? "jaccard";
  }

  /** First tokens whose attention is summed to match heads by; 0 if all sequences are fitted or have no small model. */
  #summedTokens(sequences: readonly Beginning[], tokens: number): number {
    const isMatched = sequences.some((one) =>
      one.smallSequence !== undefined && this.#matchBy(one) !== "fitted"
    );
    return isMatched ? summedTokens({}, tokens, this.#hasOwnTokens) : 0;
  }

  /** Collects the rows that a map is fitted on, if one is fitted for a sequence. */
  #capture(
    sequences: readonly Beginning[],
    config: Model["config"],
    text: { readonly tokens: number; readonly isGrouped: boolean },
  ): RowCapture | undefined {
    if (!this.#isFitting(sequences)) return undefined;
    return new RowCapture(config, { ...text, rows: DEFAULT_FIT_ROWS });
  }

  /** Whether a map is fitted for one of the sequences. */
  #isFitting(sequences: readonly Beginning[]): boolean {
    return sequences.some((one) => this.#matchBy(one) === "fitted");
  }
}

const PLAIN_KEY = scoreKey(PLAIN_SCORES);
