/**
 * A prompt under the full cache and some policies, step by step.
 *
 * @module
 */

import { RequirementError } from "../../core/check.ts";
import { createPolicy, type ResolvedPolicy } from "../../cache/policy_options.ts";
import { endTokensOf } from "../../decoding/text/loop.ts";
import { SharedActivations } from "../../decoding/engine/shared_activations.ts";
import type { ModelPair } from "../../decoding/engine/types.ts";
import { tokenTexts } from "../../models/tokenizer/token_texts.ts";
import {
  MAX_POLICIES,
  type ReceivedSteps,
  type RunRequest,
  type ShownToken,
  type TrackStep,
  type WantedSteps,
} from "../messages.ts";
import { ReceivedAttention } from "./received_attention.ts";
import { Track } from "./track.ts";

/** Progress and end of a run. */
export interface RunEvents {
  /** Ends the reading of prompts. */
  readonly signal?: AbortSignal;
  /** Told which policy reads the prompt, and the share that is done. */
  readonly onPrompt?: (policy: string, share: number) => void;
}

/** A run at some step; the first of its tracks is the full cache. */
export class ExplorerRun implements Disposable {
  /** Token ids of the prompt. */
  readonly prompt: readonly number[];
  readonly #pair: ModelPair;
  readonly #request: RunRequest;
  readonly #policies: readonly ResolvedPolicy[];
  readonly #tracks: Track[] = [];
  readonly #activations = new SharedActivations();
  /** Texts that are read once more: the full cache's, and those of tracks that have departed from it. */
  readonly #watched = new Map<number, ReceivedAttention>();

  /**
   * Checks the request and reads nothing yet.
   *
   * @throws {RequirementError} If the prompt is empty or does not fit, there are too many policies, or one of them is not
   *   known or cannot have its options.
   */
  constructor(pair: ModelPair, request: RunRequest) {
    this.#pair = pair;
    this.#request = request;
    this.prompt = encoded(pair, request);
    const { length } = request.policies;
    if (length > MAX_POLICIES) {
      refuse(`policies next to the full cache must be at most ${MAX_POLICIES}`, length);
    }
    this.#policies = ["full", ...request.policies].map((name) =>
      createPolicy(name, request.options[name])
    );
  }

  /** Texts of the prompt's tokens. */
  get shownPrompt(): readonly ShownToken[] {
    const texts = tokenTexts(this.#pair.large.tokenizer!, this.prompt);
    return this.prompt.map((id, place) => ({ id, text: texts[place]! }));
  }

  /** Whether no text continues. */
  get isDone(): boolean {
    return this.#tracks.every((_, place) => this.#isDone(place));
  }

  /**
   * Reads the prompt under every policy.
   *
   * @returns Step 0 of each track.
   */
  async start({ signal, onPrompt }: RunEvents = {}): Promise<TrackStep[]> {
    const { budget, store, newTokens } = this.#request;
    const steps: TrackStep[] = [];
    for (const policy of this.#policies) {
      const track = new Track({
        pair: this.#pair,
        tokenizer: this.#pair.large.tokenizer!,
        policy,
        budget: { ratio: policy.name === "full" ? 1 : budget },
        store,
        prompt: this.prompt,
        newTokens,
        activations: this.#activations,
        endTokens: new Set(endTokensOf(this.#pair.large)),
      });
      this.#tracks.push(track);
      const reference = steps.length === 0
        ? undefined
        : { logits: this.#tracks[0]!.logits, isSameText: true };
      steps.push(
        await track.start(reference, {
          onShare: (share) => onPrompt?.(policy.name, share),
          ...(signal && { signal }),
        }),
      );
    }
    return steps;
  }

  /**
   * Runs one token of each text that continues.
   *
   * @returns A step for each track; undefined where the text has ended.
   */
  async step(): Promise<(TrackStep | undefined)[]> {
    const [full, ...others] = this.#tracks as [Track, ...Track[]];
    const before = this.#tracks.map(({ chosen }) => chosen.slice());
    const isOver = this.#tracks.map((_, place) => this.#isDone(place));
    const steps = [isOver[0] ? undefined : await full.step(undefined)];
    for (const [index, track] of others.entries()) {
      const place = index + 1;
      if (isOver[place]) {
        steps.push(undefined);
        continue;
      }
      const isSameText = this.#request.reads === "full" ||
        !isOver[0] && isEqual(before[0]!, before[place]!);
      const token = this.#request.reads === "full" ? before[0]!.at(-1) : undefined;
      steps.push(await track.step(token, () => ({ logits: full.logits, isSameText })));
    }
    return steps;
  }

  /** Tokens that a track has read after the prompt. */
  readBy(track: number): readonly number[] {
    return this.#tracks[track]!.read;
  }

  /**
   * Computes what tokens have received with everything kept, on the text that each track has read.
   *
   * @param wanted Tracks, and the first step of each.
   * @param signal Ends the reading of prompts.
   */
  async attend(
    wanted: readonly WantedSteps[],
    signal?: AbortSignal,
  ): Promise<ReceivedSteps[]> {
    const texts = new Map<number, ReceivedAttention>();
    // Before any is read on: a text that departs continues from where the full cache's has been read.
    for (const { track } of wanted) texts.set(track, await this.#watch(track));
    const received: ReceivedSteps[] = [];
    for (const { track, from } of wanted) {
      const steps = await texts.get(track)!.upTo(this.readBy(track), signal);
      received.push({ track, from, steps: steps.slice(from) });
    }
    return received;
  }

  async #watch(track: number): Promise<ReceivedAttention> {
    const [full, read] = [this.readBy(0), this.readBy(track)];
    const departure = read.findIndex((token, place) => token !== full[place]);
    const reader = departure < 0 ? 0 : track;
    const found = this.#watched.get(reader);
    if (found) return found;
    const shared = this.#watched.get(0);
    const isPart = shared !== undefined && shared.readTokens >= 0 && shared.readTokens <= departure;
    const made = isPart ? await shared.copy() : new ReceivedAttention(this.#pair.large, {
      prompt: this.prompt,
      newTokens: this.#request.newTokens,
      activations: this.#activations,
    });
    this.#watched.set(reader, made);
    return made;
  }

  /** Frees the caches. */
  [Symbol.dispose](): void {
    for (const watched of this.#watched.values()) watched[Symbol.dispose]();
    for (const track of this.#tracks) track[Symbol.dispose]();
  }

  /** Where all read what the full cache writes, all end with it. */
  #isDone(place: number): boolean {
    return this.#tracks[this.#request.reads === "full" ? 0 : place]!.isDone;
  }
}

function isEqual(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((value, place) => value === b[place]);
}

function encoded({ large, small }: ModelPair, { prompt, newTokens }: RunRequest): number[] {
  if (prompt.trim() === "") refuse("the prompt must have text", "none");
  const tokens = large.tokenizer!.encode(prompt);
  const most = Math.min(large.config.contextLength, small?.config.contextLength ?? Infinity);
  if (tokens.length + newTokens > most) {
    refuse(
      `prompt and new tokens must fit the context of ${most} tokens`,
      `${tokens.length} + ${newTokens}`,
    );
  }
  return tokens;
}

function refuse(requirement: string, current: unknown): never {
  throw new RequirementError({ action: "write a text", requirement, current });
}
