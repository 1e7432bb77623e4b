/**
 * Turns the tokens of one sequence into text until something ends it.
 *
 * @module
 */

import {
  createTextStream,
  type TextStream,
  type Tokenizer,
} from "../../models/tokenizer/tokenizer.ts";
import { StopTexts } from "./stop.ts";

/** A new token. */
export interface GeneratedToken {
  /** Which prompt it continues, from 0. */
  readonly sequence: number;
  /** Its place among the new tokens, from 0. */
  readonly index: number;
  /** Its id. */
  readonly tokenId: number;
  /** Text that became certain with it: whole characters, without markers; may be empty. */
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
  /** Texts that end it and are left out. */
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
   * Starts behind a prompt.
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
