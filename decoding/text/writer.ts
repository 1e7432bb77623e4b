/**
 * Turns the tokens of one sequence into text until a limit, a token or a string ends it.
 *
 * @module
 */

import {
  createTextStream,
  type TextStream,
  type Tokenizer,
} from "../../models/tokenizer/tokenizer.ts";
import { endTokenIds } from "../../models/tokenizer/chat_template.ts";
import type { Model } from "../../models/load.ts";

/** A new token. */
export interface GeneratedToken {
  /** Which prompt it continues, from 0. */
  readonly sequence: number;
  /** Its place among the new tokens, from 0. */
  readonly index: number;
  /** Its id. */
  readonly tokenId: number;
  /** Text that became certain with it: whole characters, without special tokens; may be empty. */
  readonly text: string;
}

/** What ends a sequence. */
export interface WriterOptions {
  /** Which prompt it continues. */
  readonly sequence: number;
  /** The prompt, which decides how the first token is spelled. */
  readonly prompt: readonly number[];
  /** Most new tokens. */
  readonly maxNewTokens: number;
  /** Tokens that end it; they count as new tokens and have no text. */
  readonly stopTokens: ReadonlySet<number>;
  /** Strings that end it and are left out. */
  readonly stopTexts: readonly string[];
  /** Without one there is no text. */
  readonly tokenizer?: Tokenizer;
}

/** Writer of one sequence. */
export class SequenceWriter {
  readonly #options: WriterOptions;
  readonly #stream: TextStream | undefined;
  readonly #stops: StopTexts;
  #count = 0;
  #isDone = false;

  /**
   * Starts after a prompt.
   *
   * @param options Sequence and what ends it.
   */
  constructor(options: WriterOptions) {
    const { tokenizer, prompt, stopTexts } = options;
    this.#options = options;
    this.#stops = new StopTexts(stopTexts);
    this.#stream = tokenizer && createTextStream(tokenizer, { skipSpecialTokens: true });
    for (const id of prompt) this.#stream?.push(id);
  }

  /** New tokens so far. */
  get count(): number {
    return this.#count;
  }

  /** Whether the sequence has ended. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /**
   * Takes the next token.
   *
   * @param tokenId Its id.
   * @returns The token with its text.
   */
  push(tokenId: number): GeneratedToken {
    const { sequence, stopTokens, maxNewTokens } = this.#options;
    const isStop = stopTokens.has(tokenId);
    const piece = isStop ? "" : this.#stream?.push(tokenId) ?? "";
    const certain = this.#stops.push(piece);
    const index = this.#count++;
    this.#isDone = isStop || this.#stops.isStopped || this.#count >= maxNewTokens;
    const text = this.#isDone ? certain + this.#stops.end() : certain;
    return { sequence, index, tokenId, text };
  }
}

/**
 * Lists every token that ends a text or a turn of a model.
 *
 * @param model The model.
 * @returns Token ids, ascending; only those of its configuration if it has no tokenizer.
 */
export function endTokensOf({ tokenizer, config }: Pick<Model, "tokenizer" | "config">): number[] {
  if (tokenizer) return endTokenIds(tokenizer, config.eosTokenIds);
  return [...new Set(config.eosTokenIds)].sort((a, b) => a - b);
}

/** Passes text on until a stop string appears, and holds back what may be its beginning. */
export class StopTexts {
  readonly #stops: readonly string[];
  #held = "";
  #isStopped = false;

  /**
   * Starts at the beginning of a text.
   *
   * @param stops Strings that end the output; empty ones never do.
   */
  constructor(stops: readonly string[] = []) {
    this.#stops = stops.filter((stop) => stop !== "");
  }

  /** Whether a stop string has appeared. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /**
   * Takes the next piece of text.
   *
   * @param piece Text in order.
   * @returns The part that is certain to come before any stop string.
   */
  push(piece: string): string {
    if (this.#isStopped) return "";
    const text = this.#held + piece;
    const places = this.#stops.map((stop) => text.indexOf(stop)).filter((place) => place >= 0);
    if (places.length > 0) {
      this.#isStopped = true;
      this.#held = "";
      return text.slice(0, Math.min(...places));
    }
    const held = Math.max(0, ...this.#stops.map((stop) => overlap(text, stop)));
    this.#held = text.slice(text.length - held);
    return text.slice(0, text.length - held);
  }

  /** Returns what was held back, once no stop string can follow. */
  end(): string {
    const text = this.#held;
    this.#held = "";
    return text;
  }
}

/** Length of the longest end of a text that is a beginning of a stop string. */
function overlap(text: string, stop: string): number {
  let length = Math.min(text.length, stop.length - 1);
  while (length > 0 && !text.endsWith(stop.slice(0, length))) length--;
  return length;
}
