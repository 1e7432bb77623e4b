/**
 * Where tokens lie in the text they came from, in characters, correct for characters of several bytes.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import type { UnicodeForm } from "./tokenizer_json.ts";

/** Tokens with their places in a text. */
export interface TokenSpans {
  /** Token ids, [tokens]. */
  readonly ids: readonly number[];
  /** First UTF-16 unit that a token belongs to, [tokens]. */
  readonly starts: readonly number[];
  /** Unit after the last; a token with part of a character covers all of it, [tokens]. */
  readonly ends: readonly number[];
}

/** The tokens of a text and what encoding did to it. */
export interface SpelledTokens {
  /** Token ids, [tokens]. */
  readonly ids: readonly number[];
  /** Bytes of each token, [tokens]. */
  readonly bytes: readonly Uint8Array[];
  /** Unicode form that the text was put into. */
  readonly form?: UnicodeForm;
  /** Whether encoding put the space there that a token begins with, [tokens]. */
  readonly isPrefixed: readonly boolean[];
}

/** A text as UTF-8 with the characters that each byte belongs to. */
interface SpelledText {
  readonly bytes: readonly number[];
  /** First UTF-16 unit in the original text, [bytes + 1]. */
  readonly starts: readonly number[];
  /** Unit after the last, [bytes]. */
  readonly ends: readonly number[];
}

const SPACE = 0x20;
const CHARACTER = /[\s\S]/gu;

/**
 * Stretches that a Unicode form changes independently of their neighbors: a character with its
 * combining marks, or a run of Hangul, whose parts also combine without being marks.
 */
const NORMAL_STRETCH = /[\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff]+\p{M}*|\P{M}\p{M}*|\p{M}+/gu;

/**
 * Finds the characters that each token covers.
 *
 * Bytes that the vocabulary cannot spell, and that encoding therefore left out, belong to no token.
 *
 * @param tokens Its tokens, without special tokens around them.
 * @returns Spans in UTF-16 units of `text`.
 * @throws {DataError} If the tokens do not spell the text.
 */
export function tokenSpans(text: string, tokens: SpelledTokens): TokenSpans {
  const source = spell(text.toWellFormed(), tokens.form);
  const starts: number[] = [];
  const ends: number[] = [];
  let next = 0; // byte of the text
  tokens.bytes.forEach((bytes, token) => {
    let first = -1;
    let last = -1;
    const skipped = tokens.isPrefixed[token] === true && bytes[0] === SPACE ? 1 : 0;
    for (const byte of bytes.subarray(skipped)) {
      const found = source.bytes.indexOf(byte, next);
      if (found < 0) throw differs(text, source.starts[next]!);
      if (first < 0) first = found;
      last = found;
      next = found + 1;
    }
    const start = source.starts[first < 0 ? next : first]!;
    starts.push(start);
    ends.push(last < 0 ? start : source.ends[last]!);
  });
  return { ids: tokens.ids, starts, ends };
}

/** Spells a text stretch by stretch; every byte of a stretch belongs to the whole of it. */
function spell(text: string, form: SpelledTokens["form"]): SpelledText {
  const encoder = new TextEncoder();
  const changes = form !== undefined && text.normalize(form) !== text;
  const stretches = text.match(changes ? NORMAL_STRETCH : CHARACTER) ?? [];
  const bytes: number[] = [];
  const starts: number[] = [];
  const ends: number[] = [];
  let unit = 0;
  for (const stretch of stretches) {
    const end = unit + stretch.length;
    for (const byte of encoder.encode(changes ? stretch.normalize(form) : stretch)) {
      bytes.push(byte);
      starts.push(unit);
      ends.push(end);
    }
    unit = end;
  }
  starts.push(unit);
  return { bytes, starts, ends };
}

function differs(text: string, unit: number): DataError {
  return new DataError(
    `Cannot find the places of tokens: tokens must spell the text: current value differs after ${
      JSON.stringify(text.slice(Math.max(0, unit - 20), unit))
    }`,
  );
}
