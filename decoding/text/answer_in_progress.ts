/**
 * One answer while it is decoded: its turns, and the token that its sequence runs next.
 *
 * @module
 */

import type { Model } from "../../models/load.ts";
import type { AnswerItem } from "./answer_source.ts";
import type { AnsweredTurn, AnswerRequest } from "./answers.ts";
import { SequenceWriter } from "./loop.ts";

/** What answers end with. */
interface EndOptions {
  /** Model that writes them. */
  readonly large: Model;
  /** Tokens that end a text. */
  readonly endTokens: ReadonlySet<number>;
}

/** Takes the tokens that a sequence chooses. */
export class AnswerInProgress {
  /** The request. */
  readonly request: AnswerRequest;
  /** Index of the setting. */
  readonly setting: number;
  /** Its share of the time so far. */
  readonly seconds: { prompt: number; decode: number };
  /** Turns that have been answered. */
  readonly turns: AnsweredTurn[] = [];
  readonly #options: EndOptions;
  /** Tokens of a further turn that are given to the next steps, whatever is chosen. */
  #given: number[] = [];
  #isOpening: boolean;
  #writer: SequenceWriter;
  #tokens: number[] = [];
  #text = "";

  /** Starts after the prompt of an item. */
  constructor({ request, setting, seconds }: AnswerItem, options: EndOptions) {
    this.request = request;
    this.setting = setting;
    this.seconds = { prompt: seconds, decode: 0 };
    this.#options = options;
    this.#isOpening = request.compressAfter === "prefix";
    this.#writer = this.#write([...request.prefix, ...request.turns[0]!]);
  }

  /** Whether the next tokens are given. */
  get isGiven(): boolean {
    return this.#given.length > 0;
  }

  /** Whether every turn has been answered. */
  get isDone(): boolean {
    return this.turns.length === this.request.turns.length;
  }

  /** Whether the first turn has not been read, so that what is chosen belongs to no answer. */
  get isOpening(): boolean {
    return this.#isOpening;
  }

  /** Takes the token that the next step runs out of those that are given, or returns what was chosen. */
  next(chosen: number): number {
    return this.#given.shift() ?? chosen;
  }

  /**
   * Adds a chosen token; before the first turn has been read, none belongs to the answer.
   *
   * @returns Tokens of the turn that follows, if this one has been answered: the newest one, unless it only ended the
   *   answer, and those of the user.
   */
  push(token: number): readonly number[] | undefined {
    if (this.#isOpening) {
      this.#isOpening = false;
      return this.request.turns[0];
    }
    this.#text += this.#writer.push(token).text;
    this.#tokens.push(token);
    const end = this.#writer.end ?? (this.#isSettled ? "settled" : undefined);
    if (!end) return undefined;
    this.turns.push({ tokens: this.#tokens, text: this.#text, end });
    if (this.isDone) return undefined;
    const turn = this.request.turns[this.turns.length]!;
    const tokens = end === "end token" ? turn : [token, ...turn];
    this.#writer = this.#write(tokens);
    this.#tokens = [];
    this.#text = "";
    return tokens;
  }

  /** Gives tokens to the next steps. */
  give(tokens: readonly number[]): void {
    this.#given = [...tokens];
  }

  get #isSettled(): boolean {
    const { turns, isSettled } = this.request;
    return this.turns.length === turns.length - 1 && isSettled?.(this.#text) === true;
  }

  #write(prompt: readonly number[]): SequenceWriter {
    const { large: { tokenizer }, endTokens } = this.#options;
    const { maxTokens, stopTexts } = this.request;
    return new SequenceWriter({
      ...{ sequence: 0, prompt, maxNewTokens: maxTokens, stopTokens: endTokens, stopTexts },
      ...(tokenizer && { tokenizer }),
    });
  }
}
