/**
 * The small model's side of prompts that are run for many settings: its sessions, scores of each kind, and matches.
 *
 * @module
 */

import type { AttentionRows } from "../../analysis/fitted_map.ts";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import { firstLayers } from "../../models/forward/first_layers.ts";
import type { Model } from "../../models/load.ts";
import {
  type HeadMatches,
  matchBySums,
  type MatchedModels,
  matchText,
} from "../scoring/head_matching.ts";
import { fitCaptured, followMap } from "../scoring/map_fitting.ts";
import { openSmallSession, type SmallSession } from "../scoring/own_tokens.ts";
import {
  isDeviceScore,
  PLAIN_SCORES,
  scoreKey,
  scoreKind,
} from "../selection/sequence_settings.ts";
import type { SessionOptions } from "../session/session_options.ts";
import {
  kindsOf,
  type PromptStart,
  runSmallModel,
  type SmallModelState,
  withSums,
} from "./prompt.ts";
import {
  type Beginning,
  isFitting,
  type MatchBy,
  matchBy,
  matchedTokens,
  type Place,
  type PromptSetting,
  rowCapture,
  SHARED,
} from "./prompt_beginnings.ts";
import { queryTap } from "./prompt_parts.ts";
import { smallRunKey } from "./sequence_bytes.ts";
import type { PromptSnapshot } from "./snapshots.ts";
import type { ModelPair } from "./types.ts";

/** What the small model knows of a prefix. */
export interface SmallPrefix {
  readonly start: PromptStart;
  readonly matches: MatchesBy;
}

/** Matches by what is maximized. */
type MatchesBy = ReadonlyMap<MatchBy, HeadMatches>;

/** What a snapshot has of the small model. */
type SmallSnapshot = Pick<PromptSnapshot, "small" | "state">;

/** What the large model has left of the same prompt, and where the small one runs it. */
interface SmallRun {
  readonly place: Place;
  /** Sums of the large model that heads are matched by; absent if they are known or not needed. */
  readonly largeSums: Float32Array | undefined;
  /** Rows of the large model that a map is fitted on. */
  readonly largeRows?: AttentionRows;
  /** Prefixes that are still in the sessions, by what runs of the small model. */
  readonly prefixes?: ReadonlyMap<string, SmallPrefix>;
  /** Owns what is saved. */
  readonly stack: DisposableStack;
  readonly signal?: AbortSignal;
}

/** Runs prompts of the small model. Disposing it frees caches and activations. */
export class SmallPrompts implements Disposable {
  readonly #pair: ModelPair;
  /** Sessions, by what runs of the model. */
  readonly #sessions = new Map<string, SmallSession>();
  readonly #owned: DisposableStack;

  /**
   * Allocates caches and activations of each cut of the model that a setting runs.
   *
   * @throws {GpuError} If the device has too little memory.
   */
  constructor(
    pair: ModelPair,
    { settings, ...sizes }: SessionOptions & { readonly settings: readonly PromptSetting[] },
  ) {
    this.#pair = pair;
    using stack = new DisposableStack();
    for (const setting of settings) {
      const key = this.#key(setting);
      if (key === undefined || this.#sessions.has(key)) continue;
      const { smallLayers, smallCacheBits: cacheBits } = setting;
      const model = firstLayers(pair.small!, smallLayers ?? pair.small!.config.layers);
      const format = cacheBits !== undefined && { cacheBits };
      const options = { ...sizes, ...format, accumulate: true };
      this.#sessions.set(key, stack.use(openSmallSession(model, options)));
    }
    this.#owned = stack.move();
  }

  /** Whether a setting uses the small model. */
  get isUsed(): boolean {
    return this.#sessions.size > 0;
  }

  /** Whether the small model reads in tokens of its own. */
  get hasOwnTokens(): boolean {
    return this.#pair.small?.givenTokenizer !== undefined;
  }

  /** The layers of the small model that a setting runs, if it uses one. */
  modelOf(setting: PromptSetting): Model | undefined {
    const key = this.#key(setting);
    return key === undefined ? undefined : this.#sessions.get(key)!.model;
  }

  /**
   * Runs a prefix in each session.
   *
   * @returns What the small model knows of it, by what runs of the model.
   */
  async runPrefix(
    tokens: readonly number[],
    all: readonly Beginning[],
    options: { readonly largeSums: Float32Array | undefined; readonly signal?: AbortSignal },
  ): Promise<ReadonlyMap<string, SmallPrefix>> {
    const prefixes = new Map<string, SmallPrefix>();
    for (const [key, session] of this.#sessions) {
      const readers = all.filter((one) => this.#key(one.options) === key);
      prefixes.set(key, await this.#runPrefix(tokens, readers, { session, ...options }));
    }
    return prefixes;
  }

  /**
   * Runs a prompt for sequences that see the same of it.
   *
   * @returns What the snapshot of each setting has of the small model; nothing for settings that do not use it.
   */
  async run(
    tokens: readonly number[],
    group: readonly Beginning[],
    options: SmallRun,
  ): Promise<ReadonlyMap<number, SmallSnapshot>> {
    const snapshots = new Map<number, SmallSnapshot>();
    for (const [key, members] of Map.groupBy(group, (one) => this.#key(one.options))) {
      if (key === undefined) continue;
      const snapshot = await this.#run(tokens, members, { ...options, key });
      for (const member of members) snapshots.set(member.setting, snapshot(member));
    }
    return snapshots;
  }

  /** Frees caches and activations. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  /** What a setting runs of the small model; undefined if it uses none. */
  #key(setting: PromptSetting): string | undefined {
    return smallRunKey(this.#pair.small, setting);
  }

  async #runPrefix(
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
      const window = isFirst ? this.#matchedTokens(readers, tokens.length) : 0;
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

  /**
   * Runs one session's prompt, and matches heads or fits a map if the prompt is long enough for one of the policies.
   *
   * @returns What a member's snapshot has of the small model.
   */
  async #run(
    tokens: readonly number[],
    members: readonly Beginning[],
    { place, key, prefixes, largeSums, largeRows, stack, signal }: SmallRun & {
      readonly key: string;
    },
  ): Promise<(member: Beginning) => SmallSnapshot> {
    const events = signal ? { signal } : {};
    const session = this.#sessions.get(key)!;
    const prefix = prefixes?.get(key);
    const policies = members.map(({ sequence }) => sequence.policy)
      .filter(({ minimumTokens }) => tokens.length >= minimumTokens);
    const isCompressed = members.some(({ options }) => options.smallBudget);
    session.rewind(prefix?.start.tokens ?? 0, place);
    session.clearAccumulated(prefix?.start.sums.get(scoreKey(PLAIN_SCORES)));
    let scores: SmallModelState["scores"] = new Map();
    const window = prefix ? 0 : this.#matchedTokens(members, tokens.length);
    const text = { tokens: tokens.length, isGrouped: false };
    const capture = rowCapture(members, session.model.config, text);
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
          this.hasOwnTokens
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
        ...(isFitting([member]) ? fitted! : { matches: matches.get(matchBy(member))! }),
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
    const groups = Map.groupBy(sequences, matchBy);
    groups.delete("fitted");
    const matches = new Map<MatchBy, HeadMatches>();
    for (const [by, members] of groups) {
      const policies = members.map(({ sequence }) => sequence.policy);
      const models = { large: this.#pair.large, small, match: { by } };
      matches.set(by, await find(models, { policies }));
    }
    return matches;
  }

  #matchedTokens(sequences: readonly Beginning[], tokens: number): number {
    return matchedTokens(sequences, { tokens, hasOwnTokens: this.hasOwnTokens });
  }
}
