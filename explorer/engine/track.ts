/**
 * One policy that writes a text: its session and what each step did.
 *
 * @module
 */

import { klDivergence, largestIndex } from "../../analysis/quality.ts";
import type { CacheBudget } from "../../cache/budget.ts";
import type { Migration, StoreKind } from "../../cache/kv_store.ts";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import { usedModels } from "../../decoding/engine/model_pair.ts";
import { PolicySession } from "../../decoding/engine/policy_session.ts";
import type { SharedActivations } from "../../decoding/engine/shared_activations.ts";
import type { ModelPair } from "../../decoding/engine/types.ts";
import { tokenTiers } from "../../decoding/selection/token_tiers.ts";
import {
  createTextStream,
  type TextStream,
  type Tokenizer,
} from "../../models/tokenizer/tokenizer.ts";
import type { TrackStep } from "../messages.ts";
import { storeOf } from "../../cache/wanted_store.ts";

/** What a track needs. */
export interface TrackOptions {
  /** Models. */
  readonly pair: ModelPair;
  /** Tokenizer of both. */
  readonly tokenizer: Tokenizer;
  /** The policy, with its options. */
  readonly policy: ResolvedPolicy;
  /** What it may keep. */
  readonly budget: CacheBudget;
  /** Where tokens that may return wait. */
  readonly store: StoreKind;
  /** Token ids. */
  readonly prompt: readonly number[];
  /** Most new tokens. */
  readonly newTokens: number;
  /** Tokens that end a text. */
  readonly endTokens: ReadonlySet<number>;
  /** Activations of all tracks, which step one after another. */
  readonly activations: SharedActivations;
}

/** Logits and choice of the full cache at the same step. */
export interface Reference {
  /** Logits of the next token. */
  readonly logits: Float32Array;
  /** Whether everything before it is the same text. */
  readonly isSameText: boolean;
}

/** A policy at work. */
export class Track implements Disposable {
  /** Tokens that it has chosen. */
  readonly chosen: number[] = [];
  /** Tokens that it has read after the prompt. */
  readonly read: number[] = [];
  readonly #options: TrackOptions;
  readonly #session: PolicySession;
  readonly #stream: TextStream;
  #logits = new Float32Array(0);

  /** Allocates the caches. */
  constructor(options: TrackOptions) {
    const { pair, prompt, newTokens } = options;
    this.#options = options;
    const { policy } = options;
    this.#session = new PolicySession(usedModels(pair, policy), {
      policy,
      budget: options.budget,
      // The newest token is read by no step.
      capacity: prompt.length + newTokens,
      store: storeOf(policy, options.store),
      activations: options.activations,
    });
    this.#stream = createTextStream(options.tokenizer);
    for (const id of prompt) this.#stream.push(id);
  }

  /** Logits after the newest step, [vocabulary]. */
  get logits(): Float32Array {
    return this.#logits;
  }

  /** Whether its text has ended. */
  get isDone(): boolean {
    const newest = this.chosen.at(-1);
    const { endTokens, newTokens } = this.#options;
    return this.chosen.length >= newTokens || newest !== undefined && endTokens.has(newest);
  }

  /**
   * Reads the prompt.
   *
   * @param reference The full cache at the same step; absent for the full cache itself.
   * @param events Signal, and a receiver of the share that is done.
   */
  async start(
    reference: Reference | undefined,
    events: { readonly signal?: AbortSignal; readonly onShare?: (share: number) => void } = {},
  ): Promise<TrackStep> {
    const begin = performance.now();
    const { signal, onShare } = events;
    await this.#session.prefill(this.#options.prompt, {
      onLogits: (logits) => this.#logits = logits.slice(),
      onProgress: (done, total) => onShare?.(done / total),
      ...(signal && { signal }),
    });
    return await this.#describe({ begin, reference });
  }

  /**
   * Runs one token.
   *
   * @param token The token to read; the one that was chosen last if left out.
   * @param reference Called when the step has run.
   */
  async step(token: number | undefined, reference?: () => Reference): Promise<TrackStep> {
    const begin = performance.now();
    const next = token ?? this.chosen.at(-1)!;
    const report = await this.#session.step({ logits: true, tokens: [next] });
    this.read.push(next);
    this.#logits = report.logits!.slice();
    const [seen] = this.#session.lengths;
    const { config } = this.#options.pair.large;
    const tiers = tokenTiers(report.selections[0]!, seen!, {
      policy: this.#options.policy,
      budget: this.#options.budget,
      config,
      promptTokens: this.#options.prompt.length,
    });
    const { migration } = report;
    return await this.#describe({
      begin,
      reference: reference?.(),
      tiers,
      ...(migration && this.chosen.length > 1 && { migration }),
    });
  }

  /** Frees the caches. */
  [Symbol.dispose](): void {
    this.#session.close();
  }

  async #describe(made: {
    readonly begin: number;
    readonly reference: Reference | undefined;
    readonly tiers?: Uint8Array<ArrayBuffer>;
    readonly migration?: Migration;
  }): Promise<TrackStep> {
    const { begin, reference, tiers, migration } = made;
    const milliseconds = performance.now() - begin;
    const next = largestIndex(this.#logits);
    const isEnd = this.#options.endTokens.has(next);
    this.chosen.push(next);
    const bytes = await this.#session.memory();
    const isMarker = this.#options.tokenizer.isSpecial(next);
    return {
      next: { id: next, text: isMarker ? null : this.#stream.push(next) },
      isEnd,
      ...(!reference && { kl: 0 }),
      ...(reference?.isSameText && { kl: klDivergence(reference.logits, this.#logits) }),
      seen: this.#session.lengths[0]!,
      ...(tiers && { tiers }),
      milliseconds,
      deviceBytes: bytes.largeCacheBytesIdeal,
      smallBytes: bytes.smallCacheBytesIdeal,
      hostBytes: this.#options.policy.candidates === "all" ? bytes.hostBytes : 0,
      movedBytes: (migration?.keyBytes ?? 0) + (migration?.valueBytes ?? 0),
    };
  }
}
