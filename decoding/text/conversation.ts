/**
 * A conversation on one cache: what has been said is not read again, and stays compressed between turns.
 *
 * @see docs/method.md, "Further turns"
 * @module
 */

import { checkInteger, DataError } from "../../core/check.ts";
import type { ChatMessage } from "../../models/tokenizer/chat_template.ts";
import { generationLoop, StatisticsRecorder } from "./loop.ts";
import { DEFAULT_NEW_TOKENS, type GenerateOptions } from "./generate.ts";
import { tierCounter } from "../selection/tiers.ts";
import {
  type CompressionOptions,
  type DraftOptions,
  generationMemory,
  type GenerationSession,
  type GenerationSetup,
  openSession,
  setUpGeneration,
} from "./setup.ts";
import type { GenerationStatistics } from "./statistics.ts";
import type { ModelPair } from "../engine/types.ts";
import { chatText, promptTokens } from "./prompts.ts";
import { endTokensOf, type GeneratedToken, SequenceWriter } from "./writer.ts";

/** How a conversation is held. */
export interface ConversationOptions extends CompressionOptions, DraftOptions {
  /** Tokens that fit, of all turns and answers; the models' context, but at most 4,096, if left out. */
  readonly capacity?: number;
  /** Whether turns are what a user says, by the chat template; if left out, where the large model has one. */
  readonly isChat?: boolean;
  /** Tokens of a further turn that are run at once where dropped tokens are gone; 1 if left out. */
  readonly turnBlock?: number;
  /** What the model is told before the first turn; only with a chat template. */
  readonly system?: string;
}

/** How a turn is answered. */
export type AnswerOptions = Pick<
  GenerateOptions,
  "maxNewTokens" | "stopTokens" | "stopTexts" | "signal" | "onStep" | "onPrefill"
>;

/** Tokens of a conversation that names no number. */
const DEFAULT_CAPACITY = 4096;
/** Stands for an answer where the text behind it is wanted. */
const ANSWER = "\u2402answer\u2402";

/** Turns and answers of a pair. Disposing it frees caches and activations. */
export class Conversation implements Disposable {
  readonly #pair: ModelPair;
  readonly #options: ConversationOptions;
  readonly #messages: ChatMessage[] = [];
  #open: { readonly session: GenerationSession; readonly setup: GenerationSetup } | undefined;
  /** The newest token of an answer, and the place it will have in the cache. */
  #newest: { readonly tokenId: number; readonly place: number } | undefined;

  /**
   * Allocates nothing before the first turn.
   *
   * @param pair Models; the small one may be left out where the policy has no small model.
   * @param options Policy, budget, drafts, room.
   */
  constructor(pair: ModelPair, options: ConversationOptions = {}) {
    this.#pair = pair;
    this.#options = options;
    if (options.system !== undefined) {
      this.#messages.push({ role: "system", content: options.system });
    }
  }

  /** What has been said. */
  get messages(): readonly ChatMessage[] {
    return this.#messages;
  }

  /**
   * Says something and yields the answer as it comes.
   *
   * With a chat template it is what a user says, otherwise it follows the text as it is. Whatever ends the answer, the
   * conversation can go on.
   *
   * @param text The turn.
   * @param options Ends, events.
   * @returns Tokens of the answer; statistics of the turn at the end.
   * @throws {RangeError} If a choice is not allowed or the turn does not fit.
   * @throws {DataError} If the models do not share a vocabulary, or the template hides answers.
   * @throws {GpuError} If the device runs out of memory.
   */
  async *say(
    text: string,
    options: AnswerOptions = {},
  ): AsyncGenerator<GeneratedToken, GenerationStatistics> {
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

  /** Frees caches and activations. */
  [Symbol.dispose](): void {
    this.#open?.session[Symbol.dispose]();
    this.#open = undefined;
  }

  /** Settles what a turn is and how it is answered; nothing runs yet. */
  #prepare(text: string, options: AnswerOptions) {
    const recorder = new StatisticsRecorder();
    const { large } = this.#pair;
    const stopTokens = new Set(options.stopTokens ?? endTokensOf(large));
    const tokens = this.#turnTokens(text, stopTokens);
    const { session, setup } = this.#open ??= this.#begin(tokens);
    const before = session.lengths[0]!;
    const room = setup.capacity - before - tokens.length;
    checkInteger("go on with a conversation", "tokens left for an answer", { value: room, min: 1 });
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
      tiersOf: tierCounter({ ...setup, config: setup.pair.large.config }),
      memory: (hasCache) => generationMemory(setup.pair, hasCache ? session : undefined),
      recorder,
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
    const { large, small } = this.#pair;
    const contexts = [large, ...small ? [small] : []].map(({ config }) => config.contextLength);
    return Math.min(DEFAULT_CAPACITY, ...contexts);
  }

  /** What the cache lacks: the newest token, unless it only ended the answer, and the turn. */
  #turnTokens(text: string, stopTokens: ReadonlySet<number>): number[] {
    const { large } = this.#pair;
    const { isChat = large.chatTemplate !== undefined } = this.#options;
    const turn: ChatMessage = { role: "user", content: text };
    const held = this.#open?.session.lengths[0] ?? 0;
    if (held === 0) return promptTokens(large, isChat ? [...this.#messages, turn] : text);
    // A turn that was stopped may have taken it already.
    const newest = this.#newest?.place === held ? this.#newest.tokenId : undefined;
    const isOpen = newest !== undefined && !stopTokens.has(newest);
    const more = isChat ? this.#textBehindAnswer(turn) : text;
    const tokens = large.tokenizer!.encode(more, { addSpecialTokens: false });
    return isOpen ? [newest, ...tokens] : tokens;
  }

  /** What a template writes between an answer and the next one. */
  #textBehindAnswer(turn: ChatMessage): string {
    const { large } = this.#pair;
    const answer: ChatMessage = { role: "assistant", content: ANSWER };
    const text = chatText(large, [...this.#messages.slice(0, -1), answer, turn]);
    const place = text.lastIndexOf(ANSWER);
    if (place >= 0) return text.slice(place + ANSWER.length);
    throw new DataError(
      `Cannot go on with a conversation: the chat template of ${large.name} must write answers as they are: current template leaves them out`,
    );
  }
}
