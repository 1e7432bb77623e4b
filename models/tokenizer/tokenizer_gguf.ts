/**
 * Tokenizers from GGUF metadata: the file's token list, types, merges and scores become the
 * `tokenizer.json` that the model was published with.
 *
 * @see {@link https://github.com/ggml-org/ggml/blob/master/docs/gguf.md | GGUF, section tokenizer}
 * @module
 */

import { DataError } from "../../core/check.ts";
import { END_MARKERS } from "./end_markers.ts";
import { GPT2, lettersAndSymbols, LLAMA_CPP_DEFAULT, TEKKEN } from "./known_patterns.ts";

/** The two files of a Hugging Face tokenizer, parsed. */
export interface TokenizerFiles {
  /** Content of `tokenizer.json`; its vocabulary may also be a map. */
  readonly json: object;
  /** Content of `tokenizer_config.json`; may be empty. */
  readonly config: object;
  /** Oddities of the files that do not keep the tokenizer from working. */
  readonly warnings?: readonly string[];
}

/** Meaning of `tokenizer.ggml.token_type`. */
const TOKEN_TYPE = { unknown: 2, control: 3, userDefined: 4 } as const;

/** Most that the squares of the lengths of all tokens may come to; files have a tenth of it. */
const MAX_WORK = 2 ** 28;

/** How a family of byte-level tokenizers splits text before merging. */
interface PreTokenizer {
  /** Patterns whose matches stand alone, applied one after the other. */
  readonly patterns: readonly string[];
  /** Whether text is put into Unicode form NFC first. */
  readonly hasNfc?: boolean;
  /** Whether a piece that is a token stays one, whatever its merges. */
  readonly ignoresMerges?: boolean;
  /** Whether a sequence starts with the begin token unless the file says otherwise. */
  readonly addsBos?: boolean;
}

/** What llama.cpp does where it knows nothing better. */
const byDefault: PreTokenizer = { patterns: LLAMA_CPP_DEFAULT };
const gpt2: PreTokenizer = { patterns: [GPT2] };
const smollm: PreTokenizer = { patterns: ["\\p{N}", GPT2] };
const qwen2: PreTokenizer = { patterns: [lettersAndSymbols("\\p{N}")], hasNfc: true };
const llama3: PreTokenizer = {
  patterns: [lettersAndSymbols("\\p{N}{1,3}")],
  ignoresMerges: true,
  addsBos: true,
};
const tekken: PreTokenizer = { patterns: [TEKKEN], ignoresMerges: true, addsBos: true };

/** Pre-tokenizers by the value of `tokenizer.ggml.pre`. */
const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizer> = new Map([
  ["default", byDefault],
  ["gpt-2", gpt2],
  ["smollm", smollm],
  ["starcoder", smollm],
  ["qwen2", qwen2],
  ["deepseek-r1-qwen", qwen2],
  ["llama-bpe", llama3],
  ["llama3", llama3],
  ["llama-v3", llama3],
  ["smaug-bpe", { ...llama3, ignoresMerges: false }],
  ["tekken", tekken],
]);

/** Pre-tokenizers of files that name none, by the family of the model. */
const FAMILY_NAMES: ReadonlyMap<unknown, string> = new Map([
  ["qwen2", "qwen2"],
  ["qwen3", "qwen2"],
  ["llama", "llama-bpe"],
  ["mistral", "tekken"],
]);

/** An entry of `added_tokens` in `tokenizer.json`. */
interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly normalized: boolean;
}

/** What both kinds of tokenizer need from the metadata. */
interface GgufVocabulary {
  readonly tokens: readonly string[];
  readonly types: ArrayLike<number>;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly warnings: string[];
}

/**
 * Builds the tokenizer files of a GGUF file from its metadata.
 *
 * Byte-level BPE (`gpt2`) and SentencePiece BPE (`llama`) are supported. A file that names no pre-tokenizer gets the one
 * of its family, and roles of tokens that it does not have are ignored; `warnings` says so.
 *
 * @param metadata Key-value pairs under their names in the file, such as `tokenizer.ggml.tokens`.
 * @throws {DataError} If a key is missing or malformed, or the kind of tokenizer is not supported.
 */
export function tokenizerFromGguf(metadata: Readonly<Record<string, unknown>>): TokenizerFiles {
  const tokens = stringList(metadata, "tokens");
  const types = numberList(tokens, metadata, "token_type") ?? new Uint8Array(tokens.length);
  checkLengths(tokens);
  const vocabulary: GgufVocabulary = { tokens, types, metadata, warnings: [] };
  const model = metadata["tokenizer.ggml.model"];
  if (model === "gpt2") return byteLevelFiles(vocabulary);
  if (model === "llama") return sentencePieceFiles(vocabulary);
  throw failure(`tokenizer.ggml.model must be "gpt2" or "llama"`, model);
}

function byteLevelFiles(vocabulary: GgufVocabulary): TokenizerFiles {
  const name = preTokenizerName(vocabulary);
  const pre = PRE_TOKENIZERS.get(String(name));
  if (pre === undefined) {
    throw failure(
      `tokenizer.ggml.pre must be one of ${[...PRE_TOKENIZERS.keys()].join(", ")}`,
      name,
    );
  }
  const splits = pre.patterns.map((pattern) => ({
    type: "Split",
    pattern: { Regex: pattern },
    behavior: "Isolated",
    invert: false,
  }));
  const bytes = {
    type: "ByteLevel",
    add_prefix_space: false,
    trim_offsets: false,
    use_regex: false,
  };
  const vocab = vocabularyMap(vocabulary.tokens);
  return files(vocabulary, {
    addsBos: pre.addsBos ?? false,
    normalizer: pre.hasNfc === true ? { type: "NFC" } : null,
    pre_tokenizer: { type: "Sequence", pretokenizers: [...splits, bytes] },
    decoder: { type: "ByteLevel" },
    model: {
      type: "BPE",
      vocab,
      merges: knownMerges(vocabulary, vocab),
      ignore_merges: pre.ignoresMerges ?? false,
    },
  });
}

/** Merges of pieces that are tokens; llama.cpp takes the others, too, and spells what they give in bytes. */
function knownMerges(
  { metadata, warnings }: GgufVocabulary,
  pieces: ReadonlyMap<string, number>,
): string[] {
  const merges = stringList(metadata, "merges");
  const known = merges.filter((merge) => {
    const at = merge.indexOf(" ");
    const left = merge.slice(0, Math.max(0, at));
    const right = merge.slice(at + 1);
    return at >= 0 && pieces.has(left) && pieces.has(right) && pieces.has(left + right);
  });
  const missing = merges.length - known.length;
  if (missing > 0) warnings.push(`${missing} merges of pieces that are no tokens are left out`);
  return known;
}

function preTokenizerName({ metadata, warnings }: GgufVocabulary): unknown {
  const name = metadata["tokenizer.ggml.pre"] ?? "";
  if (name !== "") return name;
  const family = metadata["general.architecture"];
  const found = FAMILY_NAMES.get(family) ?? "default";
  warnings.push(
    `the file names no pre-tokenizer, so "${found}" of the family ${family} is used; other texts than plain English may be cut in another way than the model was trained on`,
  );
  return found;
}

function sentencePieceFiles(vocabulary: GgufVocabulary): TokenizerFiles {
  const { tokens, metadata } = vocabulary;
  const scores = numberList(tokens, metadata, "scores");
  if (scores === undefined) throw failure("tokenizer.ggml.scores must be there", undefined);
  const hasPrefix = metadata["tokenizer.ggml.add_space_prefix"] !== false;
  const spaces = { type: "Replace", pattern: { String: " " }, content: "\u2581" };
  const normalizers = hasPrefix ? [{ type: "Prepend", prepend: "\u2581" }, spaces] : [spaces];
  const strip = hasPrefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : [];
  const unknown = tokens[tokenId(vocabulary, "unknown_token_id") ?? 0];
  return files(vocabulary, {
    addsBos: true,
    normalizer: { type: "Sequence", normalizers },
    pre_tokenizer: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "\u2581" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...strip,
      ],
    },
    model: {
      type: "BPE",
      unk_token: unknown,
      fuse_unk: true,
      byte_fallback: true,
      vocab: vocabularyMap(tokens),
      merges: mergesFromScores(tokens, scores),
    },
  });
}

/** The parts of `tokenizer.json` in which the two kinds differ. */
interface Parts {
  readonly addsBos: boolean;
  readonly normalizer: object | null;
  readonly pre_tokenizer: object | null;
  readonly decoder: object;
  readonly model: object;
}

function files(vocabulary: GgufVocabulary, { addsBos, ...parts }: Parts): TokenizerFiles {
  const { tokens, metadata } = vocabulary;
  const bos = tokenId(vocabulary, "bos_token_id");
  const eos = tokenId(vocabulary, "eos_token_id");
  const wantsBos = flag(metadata, "add_bos_token") ?? addsBos;
  const wantsEos = flag(metadata, "add_eos_token") ?? false;
  const template = [
    ...(wantsBos && bos !== undefined ? [{ SpecialToken: { id: tokens[bos], type_id: 0 } }] : []),
    { Sequence: { id: "A", type_id: 0 } },
    ...(wantsEos && eos !== undefined ? [{ SpecialToken: { id: tokens[eos], type_id: 0 } }] : []),
  ];
  const post_processor = template.length > 1
    ? { type: "TemplateProcessing", single: template, pair: template, special_tokens: {} }
    : null;
  return {
    json: { version: "1.0", added_tokens: addedTokens(vocabulary), ...parts, post_processor },
    config: {},
    warnings: vocabulary.warnings,
  };
}

function addedTokens({ tokens, types }: GgufVocabulary): AddedToken[] {
  const added: AddedToken[] = [];
  for (let id = 0; id < tokens.length; id++) {
    const content = tokens[id]!;
    const special = types[id] === TOKEN_TYPE.control || types[id] === TOKEN_TYPE.unknown ||
      END_MARKERS.has(content);
    if (content !== "" && (special || types[id] === TOKEN_TYPE.userDefined)) {
      added.push({ id, content, special, normalized: false });
    }
  }
  return added;
}

/** Takes a fraction of the memory of an object with as many keys. */
function vocabularyMap(tokens: readonly string[]): Map<string, number> {
  const ids = new Map<string, number>();
  for (let id = 0; id < tokens.length; id++) ids.set(tokens[id]!, id);
  return ids;
}

function stringList(metadata: Readonly<Record<string, unknown>>, key: string): string[] {
  const value = metadata[`tokenizer.ggml.${key}`];
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  throw failure(`tokenizer.ggml.${key} must be a list of strings`, describe(value));
}

/** Merges of a token are found in time that grows with the square of its length. */
function checkLengths(tokens: readonly string[]): void {
  let work = 0;
  for (const token of tokens) work += token.length ** 2;
  if (work > MAX_WORK) {
    const longest = tokens.reduce((most, token) => Math.max(most, token.length), 0);
    throw failure("tokenizer.ggml.tokens must be shorter", `a token of ${longest} characters`);
  }
}

function numberList(
  tokens: readonly string[],
  metadata: Readonly<Record<string, unknown>>,
  key: string,
): Float64Array | undefined {
  const value = metadata[`tokenizer.ggml.${key}`];
  if (value === undefined || value === null) return undefined;
  if (Array.isArray(value) || ArrayBuffer.isView(value)) {
    const list = value as ArrayLike<number | bigint>;
    const numbers = list.length === tokens.length ? Float64Array.from(list, Number) : undefined;
    if (numbers?.includes(NaN) === false) return numbers;
  }
  throw failure(
    `tokenizer.ggml.${key} must be a list of ${tokens.length} numbers`,
    describe(value),
  );
}

function tokenId(
  { tokens, metadata, warnings }: GgufVocabulary,
  key: string,
): number | undefined {
  const value = metadata[`tokenizer.ggml.${key}`];
  if (value === undefined || value === null) return undefined;
  const id = typeof value === "bigint" ? Number(value) : value;
  if (!Number.isInteger(id)) {
    throw failure(`tokenizer.ggml.${key} must be a token id`, describe(value));
  }
  if (Number(id) >= 0 && Number(id) < tokens.length) return Number(id);
  const warning =
    `tokenizer.ggml.${key} ${id} is ignored, because there are ${tokens.length} tokens`;
  if (!warnings.includes(warning)) warnings.push(warning);
  return undefined;
}

function flag(metadata: Readonly<Record<string, unknown>>, key: string): boolean | undefined {
  const value = metadata[`tokenizer.ggml.${key}`];
  return typeof value === "boolean" ? value : undefined;
}

function describe(value: unknown): string {
  if (Array.isArray(value) || ArrayBuffer.isView(value)) {
    return `a list of ${(value as ArrayLike<unknown>).length}`;
  }
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

function failure(requirement: string, value: unknown): DataError {
  return new DataError(
    `Cannot build a tokenizer from GGUF metadata: ${requirement}: current value is ${
      describe(value)
    }`,
  );
}

/** A merge of two tokens, before the merges are sorted. */
interface Merge {
  readonly left: string;
  readonly right: string;
  readonly score: number;
}

/**
 * Lists every way to build a token from two others, best score first.
 *
 * SentencePiece merges the neighbors whose joint token scores highest. Written as BPE merges, that
 * is every split of every token into two tokens, by descending score; equal scores prefer a longer left
 * part, then a longer right part, as the converter of Hugging Face does.
 *
 * @param tokens Token texts, [vocabulary].
 * @param scores Score of each token, [vocabulary].
 * @returns Pairs in order of application.
 */
export function mergesFromScores(
  tokens: readonly string[],
  scores: ArrayLike<number>,
): [string, string][] {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges: Merge[] = [];
  for (const [token, id] of ids) merges.push(...splits(token, scores[id]!, ids));
  merges.sort((a, b) =>
    b.score - a.score || length(b.left) - length(a.left) || length(b.right) - length(a.right)
  );
  return merges.map(({ left, right }) => [left, right]);
}

function splits(token: string, score: number, ids: ReadonlyMap<string, number>): Merge[] {
  const found: Merge[] = [];
  let end = 0;
  for (const character of token) {
    end += character.length;
    const left = token.slice(0, end);
    const right = token.slice(end);
    if (right !== "" && ids.has(left) && ids.has(right)) found.push({ left, right, score });
  }
  return found.sort((a, b) =>
    ids.get(b.left)! - ids.get(a.left)! || ids.get(b.right)! - ids.get(a.right)!
  );
}

function length(text: string): number {
  return [...text].length;
}
