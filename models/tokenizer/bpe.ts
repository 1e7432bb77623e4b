/**
 * Byte-pair encoding of one word, step by step as the original tokenizers do it.
 *
 * @see {@link https://arxiv.org/abs/1508.07909 | Neural Machine Translation of Rare Words with Subword Units}
 * @module
 */

import { type Component, unsupported } from "./components.ts";

/** Cuts a word into token ids. */
export type WordModel = (word: string) => readonly number[];

/** More than any token id, so that two of them make one key. */
const ID_RANGE = 2 ** 24;
/** More than the characters of any word, so that a rank and a place make one key. */
const PLACE_RANGE = 2 ** 26;
/** Words kept before the cache is emptied, and longest word that is kept. */
const CACHED_WORDS = 20_000;
const LONGEST_CACHED = 256;

/** How unknown characters are spelled. */
interface Spelling {
  readonly prefix: string;
  readonly suffix: string;
  readonly unknown: number | undefined;
  readonly isFused: boolean;
  readonly hasByteFallback: boolean;
}

/**
 * Builds the model of a tokenizer.
 *
 * @param model `model` of `tokenizer.json`, of type BPE.
 * @param ids Ids of the pieces.
 * @throws {DataError} If merges are malformed or name pieces that are none, or fields ask for chance.
 */
export function buildBpe(model: Component, ids: ReadonlyMap<string, number>): WordModel {
  if ((model.dropout ?? 0) !== 0) throw unsupported("model.dropout must be 0", model.dropout);
  const spelling = spellingOf(model, ids);
  const merges = mergesOf(model, ids, spelling.prefix);
  const cache = new Map<string, readonly number[]>();
  return (word) => {
    const whole = model.ignore_merges === true ? ids.get(word) : undefined;
    if (whole !== undefined) return [whole];
    const known = cache.get(word);
    if (known !== undefined) return known;
    const tokens = merged(spelled(word, ids, spelling), merges);
    if (word.length <= LONGEST_CACHED) {
      if (cache.size >= CACHED_WORDS) cache.clear();
      cache.set(word, tokens);
    }
    return tokens;
  };
}

function spellingOf(model: Component, ids: ReadonlyMap<string, number>): Spelling {
  const text = (name: string) => {
    const value = model[name] ?? "";
    if (typeof value === "string") return value;
    throw unsupported(`model.${name} must be a string`, value);
  };
  const name = model.unk_token ?? undefined;
  const unknown = typeof name === "string" ? ids.get(name) : undefined;
  if (name !== undefined && unknown === undefined) {
    throw unsupported("model.unk_token must be in the vocabulary", name);
  }
  return {
    prefix: text("continuing_subword_prefix"),
    suffix: text("end_of_word_suffix"),
    unknown,
    isFused: model.fuse_unk === true,
    hasByteFallback: model.byte_fallback === true,
  };
}

/** Pairs of tokens that become one, the most urgent first. */
interface Merges {
  /** Ranks by the ids of both parts. */
  readonly ranks: ReadonlyMap<number, number>;
  /** Ids by rank. */
  readonly results: readonly number[];
}

function mergesOf(model: Component, ids: ReadonlyMap<string, number>, prefix: string): Merges {
  const { merges = [] } = model;
  if (!Array.isArray(merges)) throw unsupported("model.merges must be a list", merges);
  const ranks = new Map<number, number>();
  const results: number[] = [];
  // Without lists on the way: there are as many merges as tokens, and what they leave behind counts.
  merges.forEach((merge: unknown, rank) => {
    const isList = Array.isArray(merge);
    const text = isList ? "" : String(merge);
    const at = text.indexOf(" ");
    const left: unknown = isList ? merge[0] : text.slice(0, Math.max(0, at));
    const right: unknown = isList ? merge[1] : text.slice(at + 1);
    const isPair = isList ? merge.length === 2 : at >= 0 && text.indexOf(" ", at + 1) < 0;
    if (!isPair || typeof left !== "string" || typeof right !== "string") {
      throw unsupported("each of model.merges must be a pair of pieces", merge);
    }
    const first = ids.get(left);
    const second = ids.get(right);
    const result = ids.get(left + right.slice(prefix.length));
    if (first === undefined || second === undefined || result === undefined) {
      throw unsupported("model.merges must join pieces of the vocabulary to others", merge);
    }
    ranks.set(first * ID_RANGE + second, rank);
    results.push(result);
  });
  return { ranks, results };
}

/** Ids of the characters of a word; what the vocabulary lacks is spelled as bytes, as unknown, or left out. */
function spelled(word: string, ids: ReadonlyMap<string, number>, spelling: Spelling): number[] {
  const { prefix, suffix, unknown, isFused, hasByteFallback } = spelling;
  const tokens: number[] = [];
  let isPending = false; // an unknown token that further characters may join
  let at = 0;
  for (const character of word) {
    const isFirst = at === 0;
    at += character.length;
    const piece = (isFirst ? "" : prefix) + character + (at === word.length ? suffix : "");
    const id = ids.get(piece);
    if (id !== undefined) {
      if (isPending) tokens.push(unknown!);
      isPending = false;
      tokens.push(id);
      continue;
    }
    const bytes = hasByteFallback ? byteTokens(piece, ids) : undefined;
    if (bytes !== undefined) tokens.push(...bytes);
    else if (unknown !== undefined) {
      if (isPending && !isFused) tokens.push(unknown);
      isPending = true;
    }
  }
  if (isPending) tokens.push(unknown!);
  return tokens;
}

const encoder = new TextEncoder();

/** Tokens of the UTF-8 bytes of a piece; undefined if the vocabulary lacks one. */
export function byteTokens(
  piece: string,
  ids: ReadonlyMap<string, number>,
): number[] | undefined {
  const tokens = Array.from(encoder.encode(piece), (byte) => {
    const hex = byte.toString(16).toUpperCase().padStart(2, "0");
    return ids.get(`<0x${hex}>`);
  });
  return tokens.includes(undefined) ? undefined : tokens as number[];
}

/** Joins neighbors, lowest rank and then leftmost first, until no two of them are a pair. */
function merged(tokens: number[], { ranks, results }: Merges): readonly number[] {
  if (tokens.length < 2) return tokens;
  const next = Int32Array.from(tokens, (_, at) => at + 1 < tokens.length ? at + 1 : -1);
  const previous = Int32Array.from(tokens, (_, at) => at - 1);
  const queue = new Queue();
  const rankAt = (at: number) =>
    next[at]! < 0 ? undefined : ranks.get(tokens[at]! * ID_RANGE + tokens[next[at]!]!);
  const offer = (at: number) => {
    const rank = at < 0 ? undefined : rankAt(at);
    if (rank !== undefined) queue.push(rank * PLACE_RANGE + at);
  };
  for (let at = 0; at < tokens.length; at++) offer(at);
  for (let key = queue.pop(); key !== undefined; key = queue.pop()) {
    const at = key % PLACE_RANGE;
    const result = results[(key - at) / PLACE_RANGE]!;
    const rank = tokens[at]! < 0 ? undefined : rankAt(at);
    // An entry may be out of date; the original goes by what the pair would become.
    if (rank === undefined || results[rank] !== result) continue;
    const after = next[at]!;
    tokens[at] = result;
    tokens[after] = -1;
    next[at] = next[after]!;
    if (next[at]! >= 0) previous[next[at]!] = at;
    offer(previous[at]!);
    offer(at);
  }
  return tokens.filter((id) => id >= 0);
}

/** A heap of numbers, the smallest first. */
class Queue {
  readonly #keys: number[] = [];

  push(key: number): void {
    const keys = this.#keys;
    let at = keys.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (keys[parent]! <= key) break;
      keys[at] = keys[parent]!;
      at = parent;
    }
    keys[at] = key;
  }

  pop(): number | undefined {
    const keys = this.#keys;
    const top = keys[0];
    const last = keys.pop();
    if (keys.length === 0 || last === undefined) return top;
    let at = 0;
    while (true) {
      let child = 2 * at + 1;
      if (child >= keys.length) break;
      if (child + 1 < keys.length && keys[child + 1]! < keys[child]!) child++;
      if (keys[child]! >= last) break;
      keys[at] = keys[child]!;
      at = child;
    }
    keys[at] = last;
    return top;
  }
}
