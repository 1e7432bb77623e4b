/**
 * Tokenizers: text to token ids and back, exactly as the model's own tokenizer does it.
 *
 * @module
 */

import { DataError, RequirementError } from "../../core/check.ts";
import { Deadline } from "../../core/deadline.ts";
import { AddedTokenFinder } from "./added_tokens.ts";
import type { WordModel } from "./bpe.ts";
import { type Component, unsupported } from "./components.ts";
import { addedTokens, namedTokens } from "./declared_tokens.ts";
import { buildNormalizer, type Normalizer, normalizersOf } from "./normalizers.ts";
import { type SurroundingTokens, surroundingTokens } from "./post_processors.ts";
import { buildPreTokenizer, type PreTokenizer } from "./pre_tokenizers.ts";
import { type TokenSpans, tokenSpans } from "./tokenizer_offsets.ts";
import type { TokenizerFiles } from "./tokenizer_gguf.ts";
import {
  hasPrefixSpace,
  isPadding,
  pieceBytes,
  type PieceEncoding,
  pieceEncoding,
  type UnicodeForm,
  unicodeForm,
} from "./tokenizer_json.ts";
import { buildWordModel } from "./word_models.ts";

export { type TokenizerFiles, tokenizerFromGguf } from "./tokenizer_gguf.ts";
export type { TokenSpans } from "./tokenizer_offsets.ts";

/** One more than the largest token id that a file may define. */
const MAX_TOKEN_ID = 2 ** 24;
/** Longest token, in UTF-16 units. */
const MAX_TOKEN_LENGTH = 4096;

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
  /**
   * Texts of the tokens that a chat template may name, such as `bos_token`; null where the files say that there is none.
   * What they do not mention is not there.
   */
  readonly namedTokens: Readonly<Record<string, string | null>>;
  /** Whether the first decoded token loses a leading space that encoding put there. */
  readonly hasPrefixSpace: boolean;
  /** Tokens that the model wants before a text, such as its begin token. */
  readonly beginTokens: readonly number[];
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
  try {
    return new FileTokenizer(files.json as Component, files.config);
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw unsupported("tokenizer.json must describe a supported tokenizer", reason, cause);
  }
}

/** Time that the patterns of a file may take for a text, in seconds, and further seconds for each UTF-16 unit. */
const MAX_SECONDS = 2;
const SECONDS_PER_UNIT = 1e-5;

function deadlineOf(text: string): Deadline {
  const seconds = MAX_SECONDS + SECONDS_PER_UNIT * text.length;
  return new Deadline(seconds, () =>
    new DataError(
      `Cannot encode a text: the patterns and added tokens of the tokenizer must be done within ${
        seconds.toFixed(1)
      } s: current value is a text of ${text.length} characters`,
    ));
}

/** Ids of a stretch of text, and which of them begin with a space that was put there. */
interface EncodedStretch {
  readonly start: number;
  readonly end: number;
  readonly ids: number[];
  readonly isPrefixed: boolean[];
  /** Whether it is an added token rather than text. */
  readonly isAdded: boolean;
}

/** A vocabulary with its added tokens, by id. */
class FileTokenizer implements Tokenizer {
  readonly vocabulary: number;
  readonly hasPrefixSpace: boolean;
  readonly namedTokens: Readonly<Record<string, string | null>>;
  readonly #pieces: (string | undefined)[] = [];
  readonly #bytes: (Uint8Array | undefined)[] = [];
  readonly #ids = new Map<string, number>();
  readonly #added = new Set<number>();
  readonly #special = new Set<number>();
  readonly #encoding: PieceEncoding;
  readonly #form: UnicodeForm | undefined;
  /** Added tokens to look for in a text as it is, and in normalized text. */
  readonly #raw: AddedTokenFinder;
  readonly #normalized: AddedTokenFinder;
  readonly #normalize: Normalizer;
  readonly #isPrepended: boolean;
  readonly #cut: PreTokenizer;
  readonly #model: WordModel;
  readonly #around: SurroundingTokens;

  constructor(json: Component, config: object) {
    this.#encoding = pieceEncoding(json);
    this.#form = unicodeForm(json);
    this.hasPrefixSpace = hasPrefixSpace(json);
    this.namedTokens = namedTokens(config);
    const model = json.model as Component;
    const vocab = model.vocab as object;
    const define = (id: number, piece: string) => this.#define(piece, id);
    if (vocab instanceof Map) vocab.forEach(define);
    else modelEntries(vocab).forEach(([piece, id]) => define(id, piece));
    this.#model = buildWordModel(model, vocab instanceof Map ? vocab : new Map(this.#ids));
    const added = addedTokens((json.added_tokens ?? []) as Component[], config, this.#ids);
    for (const { content, id, special } of added) {
      this.#define(content, id);
      this.#added.add(id);
      if (special) this.#special.add(id);
    }
    this.vocabulary = this.#pieces.length;
    this.#normalize = buildNormalizer(json.normalizer);
    const normalizers = normalizersOf(json.normalizer);
    this.#isPrepended = normalizers.some(({ type }) => type === "Prepend");
    this.#raw = new AddedTokenFinder(
      added.filter(({ normalized }) => !normalized).map((token) => [token.content, token]),
    );
    this.#normalized = new AddedTokenFinder(
      added.filter(({ normalized }) => normalized)
        .map((token) => [this.#normalize(token.content, deadlineOf(token.content)), token]),
    );
    this.#cut = buildPreTokenizer(json.pre_tokenizer, normalizers);
    this.#around = surroundingTokens(json.post_processor, this.#ids);
  }

  get beginTokens(): readonly number[] {
    return this.#around.before;
  }

  encode(text: string, options: { readonly addSpecialTokens?: boolean } = {}): number[] {
    const ids = this.#stretches(text).flatMap((stretch) => stretch.ids);
    if (options.addSpecialTokens === false) return ids;
    return [...this.#around.before, ...ids, ...this.#around.after];
  }

  encodeWithOffsets(text: string): TokenSpans {
    const ids: number[] = [];
    const starts: number[] = [];
    const ends: number[] = [];
    for (const stretch of this.#stretches(text)) {
      const { start, end, isAdded, isPrefixed } = stretch;
      const spans = isAdded ? { starts: [0], ends: [end - start] } : tokenSpans(
        text.slice(start, end),
        {
          ids: stretch.ids,
          bytes: stretch.ids.map((id) => this.tokenBytes(id)),
          isPrefixed,
          ...(this.#form !== undefined && { form: this.#form }),
        },
      );
      for (const [at, id] of stretch.ids.entries()) {
        ids.push(id);
        starts.push(start + spans.starts[at]!);
        ends.push(start + spans.ends[at]!);
      }
    }
    return { ids, starts, ends };
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
      requirement: `the id must be an integer from 0 to ${MAX_TOKEN_ID - 1}`,
      current: id,
    });
  }

  tokenId(piece: string): number | undefined {
    return this.#ids.get(piece);
  }

  isSpecial(id: number): boolean {
    return this.#special.has(id);
  }

  /** Encodes a text stretch by stretch. A lone surrogate has no UTF-8; the original tokenizers never see one. */
  #stretches(text: string): EncodedStretch[] {
    const given = text.toWellFormed();
    const deadline = deadlineOf(given);
    return this.#raw.split(given, deadline).map(({ start, end, id }) => {
      if (id !== undefined) return { start, end, ids: [id], isPrefixed: [false], isAdded: true };
      return { start, end, ...this.#encodeStretch(given.slice(start, end), start === 0, deadline) };
    });
  }

  #encodeStretch(
    given: string,
    isStart: boolean,
    deadline: Deadline,
  ): Omit<EncodedStretch, "start" | "end"> {
    const ids: number[] = [];
    const isPrefixed: boolean[] = [];
    const text = this.#normalize(given, deadline);
    for (const section of this.#normalized.split(text, deadline)) {
      if (section.id !== undefined) {
        ids.push(section.id);
        isPrefixed.push(false);
        continue;
      }
      const isFirst = section.start === 0;
      const pieces = this.#cut({
        text: text.slice(section.start, section.end),
        isPrefixed: isFirst && this.#isPrepended,
        isStart: isFirst && isStart,
      }, deadline);
      for (const piece of pieces) {
        for (const [at, id] of this.#model(piece.text).entries()) {
          ids.push(id);
          isPrefixed.push(at === 0 && piece.isPrefixed);
        }
      }
    }
    return { ids, isPrefixed, isAdded: false };
  }

  #define(piece: string, id: number): void {
    if (!Number.isInteger(id) || id < 0 || id >= MAX_TOKEN_ID) {
      throw unsupported(`token ids must be integers from 0 to ${MAX_TOKEN_ID - 1}`, id);
    }
    if (piece.length > MAX_TOKEN_LENGTH) {
      throw unsupported(`a token must have at most ${MAX_TOKEN_LENGTH} characters`, piece.length);
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
    throw unsupported("model.vocab must be an object or a list", typeof model?.vocab);
  }
  const isToken = (token: unknown): boolean =>
    typeof (token as { content?: unknown } | null)?.content === "string";
  if (!Array.isArray(added_tokens) || !added_tokens.every(isToken)) {
    throw unsupported("added_tokens must be a list of tokens", typeof added_tokens);
  }
}
