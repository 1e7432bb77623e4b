/**
 * Tokenizers: text to token ids and back, exactly as the model's own tokenizer does it.
 *
 * @module
 */

import { BPE, Tokenizer as LibraryTokenizer } from "@huggingface/tokenizers";
import { DataError, RequirementError } from "../../core/check.ts";
import { type TokenSpans, tokenSpans } from "./tokenizer_offsets.ts";
import type { TokenizerFiles } from "./tokenizer_gguf.ts";
import {
  hasPrefixSpace,
  isPadding,
  pieceBytes,
  type PieceEncoding,
  pieceEncoding,
  repairTokenizerJson,
  type UnicodeForm,
  unicodeForm,
} from "./tokenizer_json.ts";

export { type TokenizerFiles, tokenizerFromGguf } from "./tokenizer_gguf.ts";
export type { TokenSpans } from "./tokenizer_offsets.ts";

/** Largest token id that a file may define. */
const MAX_TOKEN_ID = 2 ** 24;

/** Turns text into token ids and back. */
export interface Tokenizer {
  /** One more than the largest token id. */
  readonly vocabulary: number;
  /**
   * Encodes a text.
   *
   * Special tokens written out in the text become their ids, as in the original tokenizers.
   * `addSpecialTokens` puts the begin token and others around it if the model wants them
   * (default true).
   */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /** Encodes a text without special tokens around it and finds where each token lies in it. */
  encodeWithOffsets(text: string): TokenSpans;
  /** Decodes ids; bytes that form no character become U+FFFD. */
  decode(ids: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string;
  /** Text of one token alone; parts of characters become U+FFFD. */
  tokenText(id: number): string;
  /** Bytes of one token; empty for an id that the vocabulary does not use. */
  tokenBytes(id: number): Uint8Array;
  /** Entry of the vocabulary as its file spells it. */
  piece(id: number): string | undefined;
  /** Id of an entry of the vocabulary, spelled as in its file. */
  tokenId(piece: string): number | undefined;
  /** Whether a token is a marker, such as the end of a text, rather than text. */
  isSpecial(id: number): boolean;
  /** Whether the first decoded token loses a leading space that encoding put there. */
  readonly hasPrefixSpace: boolean;
}

/**
 * Builds a tokenizer from its files.
 *
 * @param files Content of `tokenizer.json` and `tokenizer_config.json`.
 * @returns The tokenizer; holds no resources.
 * @throws {DataError} If the files do not describe a tokenizer.
 */
export function createTokenizer(files: TokenizerFiles): Tokenizer {
  checkShape(files.json);
  const json = repairTokenizerJson(files.json);
  try {
    return new FileTokenizer(json, files.config);
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw failure("tokenizer.json must describe a supported tokenizer", reason, cause);
  }
}

/** A vocabulary with its added tokens, by id. */
class FileTokenizer implements Tokenizer {
  readonly vocabulary: number;
  readonly hasPrefixSpace: boolean;
  readonly #library: LibraryTokenizer;
  readonly #pieces: (string | undefined)[] = [];
  readonly #bytes: (Uint8Array | undefined)[] = [];
  readonly #ids = new Map<string, number>();
  readonly #added = new Set<number>();
  readonly #special = new Set<number>();
  readonly #encoding: PieceEncoding;
  readonly #form: UnicodeForm | undefined;

  constructor(json: Record<string, unknown>, config: object) {
    this.#encoding = pieceEncoding(json);
    this.#form = unicodeForm(json);
    this.hasPrefixSpace = hasPrefixSpace(json);
    const { model, added_tokens } = json as unknown as TokenizerJson;
    for (const [piece, id] of modelEntries(model.vocab)) this.#define(piece, id);
    for (const { content, id, special } of added_tokens) {
      this.#define(content, id);
      this.#added.add(id);
      if (special === true) this.#special.add(id);
    }
    this.vocabulary = this.#pieces.length;
    this.#library = new LibraryTokenizer(json, { ...config, clean_up_tokenization_spaces: false });
    const { model: merging } = this.#library;
    if (merging instanceof BPE) (merging as { cache: WordCache }).cache = wordCache();
  }

  encode(text: string, options: { readonly addSpecialTokens?: boolean } = {}): number[] {
    const addSpecial = options.addSpecialTokens ?? true;
    const ids = this.#libraryIds(text, addSpecial) as (number | undefined)[];
    if (!ids.includes(undefined)) return ids as number[];
    throw new DataError(
      "Cannot encode a text: the vocabulary must cover every part of it: current value is a token without an id",
    );
  }

  encodeWithOffsets(text: string): TokenSpans {
    const ids = this.encode(text, { addSpecialTokens: false });
    const bytes = ids.map((id) => this.tokenBytes(id));
    const form = this.#form;
    return tokenSpans(text, {
      ids,
      bytes,
      hasPrefixSpace: this.hasPrefixSpace,
      ...(form === undefined ? {} : { form }),
    });
  }

  decode(ids: readonly number[], options: { readonly skipSpecialTokens?: boolean } = {}): string {
    const stream = createTextStream(this, options);
    let text = "";
    for (const id of ids) text += stream.push(id);
    return text + stream.end();
  }

  tokenText(id: number): string {
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.tokenBytes(id));
  }

  tokenBytes(id: number): Uint8Array {
    const known = this.#bytes[id];
    if (known !== undefined) return known;
    const encoding = this.#added.has(id) ? "plain" : this.#encoding;
    return this.#bytes[id] = pieceBytes(this.piece(id) ?? "", encoding);
  }

  piece(id: number): string | undefined {
    if (Number.isInteger(id) && id >= 0 && id < MAX_TOKEN_ID) return this.#pieces[id];
    throw new RequirementError({
      action: "look up a token",
      requirement: `the id must be an integer from 0 to ${MAX_TOKEN_ID}`,
      current: id,
    });
  }

  tokenId(piece: string): number | undefined {
    return this.#ids.get(piece);
  }

  isSpecial(id: number): boolean {
    return this.#special.has(id);
  }

  #libraryIds(text: string, addSpecial: boolean): number[] {
    try {
      // A lone surrogate has no UTF-8; the original tokenizers never see one.
      return this.#library.encode(text.toWellFormed(), { add_special_tokens: addSpecial }).ids;
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new DataError(
        `Cannot encode a text: tokenizer.json must describe a working tokenizer: current value is ${reason}`,
        { cause },
      );
    }
  }

  #define(piece: string, id: number): void {
    if (!Number.isInteger(id) || id < 0 || id >= MAX_TOKEN_ID) {
      throw failure(`token ids must be integers from 0 to ${MAX_TOKEN_ID - 1}`, id);
    }
    this.#pieces[id] = piece;
    this.#ids.set(piece, id);
  }
}

/** Decodes token by token, holding back bytes until they form whole characters. */
export interface TextStream {
  /** Takes the next token and returns the text that became certain. */
  push(id: number): string;
  /** Returns what was held back; unfinished characters become U+FFFD. */
  end(): string;
}

/**
 * Starts decoding a sequence token by token.
 *
 * @param tokenizer Tokenizer of the sequence.
 * @param options Whether markers such as the end of a text are left out.
 * @returns A stream whose parts join to what `decode` returns.
 */
export function createTextStream(
  tokenizer: Tokenizer,
  options: { readonly skipSpecialTokens?: boolean } = {},
): TextStream {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let isStart = tokenizer.hasPrefixSpace;
  return {
    push(id) {
      if (options.skipSpecialTokens === true && tokenizer.isSpecial(id)) return "";
      const text = decoder.decode(tokenizer.tokenBytes(id), { stream: true });
      const dropsSpace = isStart && text.startsWith(" ");
      if (text !== "") isStart = false;
      return dropsSpace ? text.slice(1) : text;
    },
    end: () => decoder.decode(),
  };
}

/**
 * Tells whether every token id means the same text to two tokenizers.
 *
 * Ids that only one of them has must be padding of its table.
 *
 * @param a One tokenizer.
 * @param b Another.
 * @returns Whether ids of one can be given to the model of the other.
 */
export function sameVocabulary(a: Tokenizer, b: Tokenizer): boolean {
  const tokens = Math.max(a.vocabulary, b.vocabulary);
  for (let id = 0; id < tokens; id++) {
    const [first, second] = [a.piece(id), b.piece(id)];
    if (first !== second && !(isPadding(first) && isPadding(second))) return false;
  }
  return true;
}

/** The fields of `tokenizer.json` that are read here. */
interface TokenizerJson {
  readonly model: { readonly vocab: object };
  readonly added_tokens: readonly {
    readonly id: number;
    readonly content: string;
    readonly special?: boolean;
  }[];
}

/** Unigram models list [piece, score]; the others map pieces to ids. */
function modelEntries(vocab: object): [string, number][] {
  if (!Array.isArray(vocab)) return Object.entries(vocab);
  return vocab.map((entry, id) => [String((entry as unknown[])[0]), id]);
}

function checkShape(json: object): void {
  const { model, added_tokens = [] } = (json ?? {}) as {
    model?: { vocab?: unknown; merges?: unknown };
    added_tokens?: unknown;
  };
  if (typeof model?.vocab !== "object" || model.vocab === null) {
    throw failure("model.vocab must be an object or a list", typeof model?.vocab);
  }
  const isToken = (token: unknown): boolean =>
    typeof (token as { content?: unknown } | null)?.content === "string";
  if (!Array.isArray(added_tokens) || !added_tokens.every(isToken)) {
    throw failure("added_tokens must be a list of tokens", typeof added_tokens);
  }
}

function failure(requirement: string, value: unknown, cause?: unknown): DataError {
  return new DataError(
    `Cannot build a tokenizer: ${requirement}: current value is ${String(value)}`,
    { cause },
  );
}

/** Words kept before the cache of a tokenizer is emptied. */
const CACHED_WORDS = 20_000;

/** What the library expects of its cache of merged words. */
interface WordCache {
  get(word: string): string[] | undefined;
  put(word: string, pieces: string[]): void;
  clear(): void;
}

/**
 * The library moves an entry to the end of its map at each use. On V8 that takes time in proportion to the size of the
 * map: 100,000 digits took 2.3 s with a full cache and take 0.1 s with this one.
 */
function wordCache(): WordCache {
  const words = new Map<string, string[]>();
  return {
    get: (word) => words.get(word),
    put(word, pieces) {
      if (words.size >= CACHED_WORDS) words.clear();
      words.set(word, pieces);
    },
    clear: () => words.clear(),
  };
}
