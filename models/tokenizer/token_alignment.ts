/**
 * The text of one tokenizer's tokens in the tokens of another, and which of them cover the same bytes.
 *
 * @see docs/method.md, "Small models with tokens of their own"
 * @module
 */

import { RequirementError } from "../../core/check.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** How the tokens of two tokenizers cover a text; see `alignTokens`. */
export interface TokenAlignment {
  /** Token ids of the second tokenizer, [own]. */
  readonly own: readonly number[];
  /** First entry of each token of the first tokenizer, and the end of the last, [tokens + 1]. */
  readonly starts: Uint32Array<ArrayBuffer>;
  /** Token of the second tokenizer that an entry is about, [entries]. */
  readonly sources: Uint32Array<ArrayBuffer>;
  /** Share of its bytes that the entry's token of the first tokenizer covers; 1 in all for each source, [entries]. */
  readonly shares: Float32Array<ArrayBuffer>;
  /** For each token of the first tokenizer the token of the second that holds its last byte, [tokens]. */
  readonly rows: Uint32Array<ArrayBuffer>;
}

/**
 * Encodes the text of some tokens by another tokenizer, and aligns the two by bytes of UTF-8.
 *
 * Special tokens stand in the text as they are written, which the other tokenizer reads as its own special token where it
 * has one of that name, and as plain text where not. A token of the other that covers no byte, such as a begin token, goes
 * to the token before whose bytes it stands. Bytes at the end that begin a character are left out until it is whole; the
 * tokens that they belong to then have no entries. Bytes that form no character are read as U+FFFD.
 *
 * @param first Tokenizer of the tokens.
 * @param second The other tokenizer.
 * @param ids Token ids of `first`.
 * @returns The tokens and how they cover each other.
 * @throws {RequirementError} If no token is left: the ids spell no whole character.
 */
export function alignTokens(
  first: Tokenizer,
  second: Tokenizer,
  ids: readonly number[],
): TokenAlignment {
  const { bytes, ends } = spell(first, ids);
  const { own, spans } = encodeBytes(second, bytes) ?? encodeCharacters(second, bytes);
  if (own.length === 0) {
    throw new RequirementError({
      action: "encode a text for a model with another tokenizer",
      requirement: "it must hold a whole character",
      state: `value is ${bytes.length} bytes`,
    });
  }
  return { own, ...entriesOf(ends, spans), rows: rowsOf(ends, spans) };
}

/** Token ids, and the bytes that each covers. */
interface Encoded {
  readonly own: readonly number[];
  readonly spans: readonly Span[];
}

/** A stretch of a text. */
interface Span {
  readonly start: number;
  readonly end: number;
}

/** All bytes of some tokens, and where each token ends. */
function spell(tokenizer: Tokenizer, ids: readonly number[]) {
  const parts = ids.map((id) => tokenizer.tokenBytes(id));
  let size = 0;
  const ends = Uint32Array.from(parts, ({ length }) => size += length);
  const bytes = new Uint8Array(size);
  parts.forEach((part, token) => bytes.set(part, ends[token]! - part.length));
  return { bytes, ends };
}

/** Encodes valid UTF-8 whose tokens spell it byte by byte, as most do; undefined for anything else. */
function encodeBytes(tokenizer: Tokenizer, bytes: Uint8Array): Encoded | undefined {
  const whole = bytes.subarray(0, bytes.length - unfinishedBytes(bytes));
  const text = decodeStrictly(whole);
  if (text === undefined) return undefined;
  const ids = tokenizer.encode(text, { addSpecialTokens: false });
  const spelled = spell(tokenizer, ids);
  if (spelled.bytes.length !== whole.length) return undefined;
  if (spelled.bytes.some((byte, place) => byte !== whole[place])) return undefined;
  const spans = ids.map((_, token) => ({
    start: token === 0 ? 0 : spelled.ends[token - 1]!,
    end: spelled.ends[token]!,
  }));
  return withBegin(tokenizer, { own: ids, spans });
}

/** Encodes any bytes; a token with a part of a character then covers all of it. */
function encodeCharacters(tokenizer: Tokenizer, bytes: Uint8Array): Encoded {
  const { text, places } = readText(bytes);
  const { ids, starts, ends } = tokenizer.encodeWithOffsets(text);
  const spans = ids.map((_, token) => ({
    start: places[starts[token]!]!,
    end: places[ends[token]!]!,
  }));
  return withBegin(tokenizer, { own: ids, spans });
}

/** Puts the tokens before a text that the model wants there, which cover nothing, unless it begins with them. */
function withBegin({ beginTokens }: Tokenizer, { own, spans }: Encoded): Encoded {
  if (beginTokens.every((id, place) => own[place] === id)) return { own, spans };
  const nothing = beginTokens.map(() => ({ start: 0, end: 0 }));
  return { own: [...beginTokens, ...own], spans: [...nothing, ...spans] };
}

function decodeStrictly(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { ignoreBOM: true, fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** Counts the bytes at the end that begin a character without completing it. */
function unfinishedBytes(bytes: Uint8Array): number {
  for (let count = 1; count <= Math.min(3, bytes.length); count++) {
    const byte = bytes[bytes.length - count]!;
    if (byte < 0x80 || byte >= 0xc0) return characterBytes(byte) > count ? count : 0;
  }
  return 0;
}

/** Entries of each token, by the bytes that it shares with tokens of the other tokenizer. */
function entriesOf(
  ends: Uint32Array,
  spans: readonly Span[],
): Pick<TokenAlignment, "starts" | "sources" | "shares"> {
  const found: { readonly token: number; readonly source: number; readonly share: number }[] = [];
  const counts = new Uint32Array(ends.length + 1);
  spans.forEach(({ start, end }, source) => {
    let token = Math.min(firstAbove(ends, start), ends.length - 1);
    for (let from = start;; token++) {
      const to = Math.min(end, ends[token]!);
      const share = end > start ? (to - from) / (end - start) : 1;
      if (share > 0) {
        found.push({ token, source, share });
        counts[token + 1]!++;
      }
      if (to >= end) break;
      from = to;
    }
  });
  const starts = new Uint32Array(counts.length);
  for (let token = 1; token < starts.length; token++) {
    starts[token] = starts[token - 1]! + counts[token]!;
  }
  const next = starts.slice();
  const sources = new Uint32Array(found.length);
  const shares = new Float32Array(found.length);
  for (const { token, source, share } of found) {
    const entry = next[token]!++;
    sources[entry] = source;
    shares[entry] = share;
  }
  return { starts, sources, shares };
}

/** For each token the newest one of the other tokenizer that begins before its end. */
function rowsOf(ends: Uint32Array, spans: readonly Span[]): Uint32Array<ArrayBuffer> {
  let row = 0;
  return Uint32Array.from(ends, (end) => {
    while (row + 1 < spans.length && spans[row + 1]!.start < end) row++;
    return row;
  });
}

/** First index whose value exceeds a bound, of ascending values; their number if there is none. */
function firstAbove(values: Uint32Array, bound: number): number {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle]! > bound) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Reads whole characters; `places` has the byte at which each UTF-16 unit begins, and the end of the last. */
function readText(bytes: Uint8Array): { readonly text: string; readonly places: number[] } {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const parts: string[] = [];
  const places: number[] = [];
  let at = 0;
  while (at < bytes.length) {
    const length = characterBytes(bytes[at]!);
    const part = bytes.subarray(at, at + length);
    const character = decoder.decode(part);
    const isWhole = [...character].length === 1 &&
      (character !== "\uFFFD" || part.length === 3 && part[0] === 0xef);
    if (!isWhole && at + length > bytes.length && isBeginning(part)) break;
    const read = isWhole ? length : 1;
    parts.push(isWhole ? character : "\uFFFD");
    for (let unit = 0; unit < parts.at(-1)!.length; unit++) places.push(at);
    at += read;
  }
  places.push(at);
  return { text: parts.join(""), places };
}

/** Bytes of a character by its first one; 1 where that begins none. */
function characterBytes(first: number): number {
  if (first >= 0xc2 && first < 0xe0) return 2;
  if (first >= 0xe0 && first < 0xf0) return 3;
  if (first >= 0xf0 && first < 0xf5) return 4;
  return 1;
}

/** Whether bytes may be the beginning of a character that they do not complete. */
function isBeginning(part: Uint8Array): boolean {
  return part.subarray(1).every((byte) => byte >= 0x80 && byte < 0xc0);
}
