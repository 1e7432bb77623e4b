/**
 * Added tokens: texts that become one token wherever they stand, before anything else is done.
 *
 * @module
 */

import type { Deadline } from "../../core/deadline.ts";
import { unsupported } from "./components.ts";
import { leadingSpace, trailingSpace, WORD } from "./unicode_classes.ts";

/** An entry of `added_tokens` in `tokenizer.json`. */
export interface AddedToken {
  /** Its id. */
  readonly id: number;
  /** Its text. */
  readonly content: string;
  /** Whether it is a marker rather than text. */
  readonly special: boolean;
  /** Whether it is looked for in normalized text, and normalized itself. */
  readonly normalized: boolean;
  /** Whether it counts only where no letter stands beside it. */
  readonly single_word: boolean;
  /** Whether white space before it belongs to it. */
  readonly lstrip: boolean;
  /** Whether white space after it belongs to it. */
  readonly rstrip: boolean;
}

/** A part of a text: an added token, or what lies between them. */
export interface Section {
  /** First UTF-16 unit. */
  readonly start: number;
  /** Unit after the last. */
  readonly end: number;
  /** The token, if it is one. */
  readonly id?: number;
}

const WORD_BEFORE = new RegExp(`${WORD}$`, "u");
const WORD_AFTER = new RegExp(`^${WORD}`, "u");

/** More than any UTF-16 unit. */
const UNITS = 2 ** 16;
/** Most characters of all added tokens together. */
const MAX_CHARACTERS = 2 ** 21;

/** Finds added tokens in texts. */
export class AddedTokenFinder {
  /** A tree of texts: the node that a node and a unit lead to; 0 is the root. */
  readonly #nodes = new Map<number, number>();
  readonly #tokens = new Map<number, AddedToken>();

  /**
   * Makes a finder.
   *
   * @param tokens The tokens, each with the text to look for; of equal texts the first counts.
   * @throws {DataError} If the texts are too long.
   */
  constructor(tokens: Iterable<readonly [text: string, token: AddedToken]>) {
    for (const [text, token] of tokens) {
      let node = 0;
      for (let at = 0; at < text.length; at++) {
        const key = node * UNITS + text.charCodeAt(at);
        node = this.#nodes.get(key) ?? this.#nodes.size + 1;
        this.#nodes.set(key, node);
      }
      if (node !== 0 && !this.#tokens.has(node)) this.#tokens.set(node, token);
      if (this.#nodes.size > MAX_CHARACTERS) {
        throw unsupported(`added_tokens must have at most ${MAX_CHARACTERS} characters`, "more");
      }
    }
  }

  /** Cuts a text at its added tokens, the longest of those that begin first. */
  split(text: string, deadline: Deadline): Section[] {
    const sections: Section[] = [];
    let reached = 0;
    for (let at = 0; at < text.length;) {
      const found = this.#longest(text, at, deadline);
      if (found === undefined) {
        at++;
        continue;
      }
      const { token, end: stop } = found;
      if (!token.single_word || isAlone(text, at, stop)) {
        const left = token.lstrip ? trailingSpace(text.slice(reached, at)) : 0;
        const right = token.rstrip ? leadingSpace(text.slice(stop)) : 0;
        const start = Math.max(at - left, reached);
        if (start > reached) sections.push({ start: reached, end: start });
        reached = stop + right;
        sections.push({ start, end: reached, id: token.id });
      }
      at = stop;
    }
    if (reached < text.length) sections.push({ start: reached, end: text.length });
    return sections;
  }

  #longest(
    text: string,
    start: number,
    deadline: Deadline,
  ): { token: AddedToken; end: number } | undefined {
    let found: { token: AddedToken; end: number } | undefined;
    let node: number | undefined = 0;
    let at = start;
    while (at < text.length && node !== undefined) {
      node = this.#nodes.get(node * UNITS + text.charCodeAt(at++));
      const token = node === undefined ? undefined : this.#tokens.get(node);
      if (token !== undefined) found = { token, end: at };
    }
    deadline.spend(at - start);
    return found;
  }
}

function isAlone(text: string, start: number, end: number): boolean {
  return !WORD_BEFORE.test(text.slice(Math.max(0, start - 2), start)) &&
    !WORD_AFTER.test(text.slice(end, end + 2));
}
