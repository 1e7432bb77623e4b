/**
 * A conversation on one cache: earlier turns are not read again, and stay compressed between turns.
 *
 * @see docs/method.md, "Further turns"
 * @module
 */

import { checkInteger, RequirementError } from "../../core/check.ts";
import type { ChatMessage } from "../../models/tokenizer/chat_template.ts";
import {
  endTokensOf,
  type GeneratedToken,
  generationLoop,
  SequenceWriter,
  StatisticsRecorder,
} from "./loop.ts";
import { DEFAULT_NEW_TOKENS, type GenerateOptions } from "./generate.ts";
import { Calls } from "../session/calls.ts";
import { tierCounter } from "../selection/tiers.ts";
import {
  type CompressionOptions,
  type DraftOptions,
  generationMemory,
  type GenerationSession,
  type GenerationSetup,
  openSession,
  resolvePolicyOption,
  setUpGeneration,
} from "./setup.ts";
import { Sampler, type SamplingOptions } from "./sampling.ts";
import { StepsAhead } from "./steps_ahead.ts";
import type { GenerationStatistics } from "./statistics.ts";
import { pairContext, usedModels } from "../engine/model_pair.ts";
import type { ModelPair } from "../engine/types.ts";
import { laterTurnText, promptTokens } from "./prompts.ts";

/** How a conversation is held. */
export interface ConversationOptions extends CompressionOptions, DraftOptions {
  /** Tokens that fit, all turns and answers together; the models' context, but at most 4,096, if left out. */
  readonly capacity?: number;
  /** Whether turns are formatted as user messages by the chat template; if left out, whether the large model has one. */
  readonly isChat?: boolean;
  /** Tokens of a further turn that are run at once under policies that drop for good; 1 if left out. */
  readonly turnBlock?: number;
  /** System message before the first turn; only with a chat template. */
  readonly system?: string;
  /** How tokens are drawn; each turn continues the draws of the one before. The likeliest one if left out. */
  readonly sampling?: SamplingOptions;
}

/** How a turn is answered. */
export type AnswerOptions = Pick<
  GenerateOptions,
  | "maxNewTokens"
  | "stopTokens"
  | "stopTexts"
  | "hasSelections"
  | "ahead"
  | "signal"
  | "onStep"
  | "onPrefill"
>;

/** Capacity in tokens if none is given. */
const DEFAULT_CAPACITY = 4096;

/** A conversation with a pair of models. Disposing it frees caches and activations. */
export class Conversation implements Disposable {
  readonly #pair: ModelPair;
  readonly #options: ConversationOptions;
  readonly #messages: ChatMessage[] = [];
  readonly #calls = new Calls("conversation");
  readonly #sampler: Sampler | undefined;
  #open: { readonly session: GenerationSession; readonly setup: GenerationSetup } | undefined;
  /** The newest token of an answer, and the place it will have in the cache. */
  #newest: { readonly tokenId: number; readonly place: number } | undefined;

  /**
   * Allocates nothing before the first turn.
   *
   * @param pair Models; the small one may be left out if the policy does not use it.
   * @param options Policy, budget, drafts, room.
   */
  constructor(pair: ModelPair, options: ConversationOptions = {}) {
    this.#pair = pair;
    this.#options = options;
    this.#sampler = options.sampling && new Sampler(options.sampling);
    const { isChat = pair.large.chatTemplate !== undefined } = options;
    if (options.system !== undefined && !isChat) {
      throw new RequirementError({
        action: "begin a conversation",
        requirement: "a system message must come with turns of a chat",
        current: "turns as they are",
      });
    }
    if (options.system !== undefined) {
      this.#messages.push({ role: "system", content: options.system });
    }
  }

  /** Messages so far. */
  get messages(): readonly ChatMessage[] {
    return this.#messages;
  }

  /**
   * Says something and yields the answer as it is generated.
   *
   * With a chat template the text becomes a user message, otherwise it is appended as it is. However the answer ends, the
   * conversation can continue; before it has ended, and a loop over it that is left early ends it, no other turn may come.
   *
   * @param text The turn.
   * @param options Limits, events.
   * @returns Tokens of the answer; statistics of the turn at the end.
   * @throws {RequirementError} If a choice is not allowed, the turn does not fit, or the last answer has not ended.
   * @throws {DataError} If the models do not share a vocabulary, or the template hides answers.
   * @throws {GpuError} If the device runs out of memory.
   */
  async *say(
    text: string,
    options: AnswerOptions = {},
  ): AsyncGenerator<GeneratedToken, GenerationStatistics> {
    using _call = this.#calls.begin("say something");
    const turn = this.#prepare(text, options);
    let said = "";
    try {
      while (true) {
        const { value, done } = await turn.answer.next();
        if (done) return value;
        this.#newest = { ...value, place: turn.place + value.index };
        said += value.text;
        yield value;
      }
    } finally {
      if (turn.writer.count > 0) {
        this.#messages.push(
          { role: "user", content: text },
          { role: "assistant", content: said },
        );
      }
    }
  }

  /** Frees caches and activations, as the end of `using` does; the next turn begins with an empty cache. */
  close(): void {
    this.#open?.session[Symbol.dispose]();
    this.#open = undefined;
  }

  /** Closes it. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Prepares a turn and its answer; nothing runs yet. */
  #prepare(text: string, options: AnswerOptions) {
    const recorder = new StatisticsRecorder();
    const { large } = this.#pair;
    const stopTokens = new Set(options.stopTokens ?? endTokensOf(large));
    const tokens = this.#turnTokens(text, stopTokens);
    const { session, setup } = this.#open ??= this.#begin(tokens);
    const before = session.lengths[0]!;
    const room = setup.capacity - before - tokens.length;
    checkInteger("continue a conversation", "tokens left for an answer", { value: room, min: 1 });
    const { maxNewTokens = DEFAULT_NEW_TOKENS, stopTexts = [], signal, onStep, onPrefill } =
      options;
    const writer = new SequenceWriter({
      sequence: 0,
      prompt: tokens,
      maxNewTokens: Math.min(room, maxNewTokens),
      stopTokens,
      stopTexts,
      ...(large.tokenizer && { tokenizer: large.tokenizer }),
    });
    const answer = generationLoop(session, [tokens], {
      writers: [writer],
      ...(this.#sampler && { samplers: [this.#sampler] }),
      tiersOf: tierCounter({ ...setup, config: setup.pair.large.config }),
      memory: (hasCache) => generationMemory(setup.pair, hasCache ? session : undefined),
      recorder,
      hasSelections: options.hasSelections ?? true,
      ahead: new StepsAhead(large.device.info, options.ahead),
      history: { tokens: before, promptTokens: setup.prompts[0]!.length },
      ...(signal && { signal }),
      ...(onStep && { onStep }),
      ...(onPrefill && { onPrefill }),
    });
    return { answer, writer, place: before + tokens.length };
  }

  #begin(tokens: readonly number[]) {
    const { capacity = this.#defaultCapacity() } = this.#options;
    const room = { value: capacity - tokens.length, min: 1 };
    checkInteger("begin a conversation", "tokens left for an answer", room);
    const setup = setUpGeneration(this.#pair, tokens, { ...this.#options, newTokens: room.value });
    return { setup, session: openSession(setup, this.#options) };
  }

  #defaultCapacity(): number {
    const used = usedModels(this.#pair, resolvePolicyOption(this.#options));
    return Math.min(DEFAULT_CAPACITY, pairContext(used));
  }

  /** Tokens that the cache lacks: the newest one, unless it only ended the answer, and the turn. */
  #turnTokens(text: string, stopTokens: ReadonlySet<number>): number[] {
    const { large } = this.#pair;
    const { isChat = large.chatTemplate !== undefined } = this.#options;
    const turn: ChatMessage = { role: "user", content: text };
    const held = this.#open?.session.lengths[0] ?? 0;
    if (held === 0) return promptTokens(large, isChat ? [...this.#messages, turn] : text);
    // A turn that was aborted may have added it already.
    const newest = this.#newest?.place === held ? this.#newest.tokenId : undefined;
    const isOpen = newest !== undefined && !stopTokens.has(newest);
    const more = isChat ? laterTurnText(large, this.#messages.slice(0, -1), turn) : text;
    const tokens = large.tokenizer!.encode(more, { addSpecialTokens: false });
    return isOpen ? [newest, ...tokens] : tokens;
  }
}
