/**
 * What ends a generated text: tokens that end an answer, and texts.
 *
 * @module
 */

import { endTokenIds } from "../../models/tokenizer/chat_template.ts";
import type { Model } from "../../models/load.ts";

/**
 * Lists every token with which a model ends a text or a turn.
 *
 * @param model The model.
 * @returns Token ids, ascending; those of its configuration alone if it has no tokenizer.
 */
export function endTokensOf({ tokenizer, config }: Pick<Model, "tokenizer" | "config">): number[] {
  if (tokenizer) return endTokenIds(tokenizer, config.eosTokenIds);
  return [...new Set(config.eosTokenIds)].sort((a, b) => a - b);
}

/** Passes text on until one of some texts appears; holds back what may be its beginning. */
export class StopTexts {
  readonly #stops: readonly string[];
  #held = "";
  #isStopped = false;

  /**
   * Starts at the beginning of a text.
   *
   * @param stops Texts that end the output; empty ones never do.
   */
  constructor(stops: readonly string[] = []) {
    this.#stops = stops.filter((stop) => stop !== "");
  }

  /** Whether one of the texts has appeared. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /**
   * Takes the next piece of text.
   *
   * @param piece Text in order.
   * @returns What is certain to come before any of the stop texts.
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

  /** Returns what was held back, which is text after all. */
  end(): string {
    const text = this.#held;
    this.#held = "";
    return text;
  }
}

/** Longest end of a text that is a beginning of another. */
function overlap(text: string, stop: string): number {
  let length = Math.min(text.length, stop.length - 1);
  while (length > 0 && !text.endsWith(stop.slice(0, length))) length--;
  return length;
}
