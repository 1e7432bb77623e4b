/**
 * How `tokenizer.json` maps pieces to bytes, and rewrites that make the library split text as the original does.
 *
 * The library's own classes use JavaScript's `\s` and `\d`. The original tokenizers mean Unicode white space (with U+0085,
 * without U+FEFF) and every kind of number. A `Split` pattern goes through the library's translation, which gets these
 * right, so the other components are rewritten as `Split`.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";

/** How a vocabulary writes bytes as text. */
export type PieceEncoding = "byteLevel" | "metaspace" | "plain";

/** Unicode forms that a tokenizer may put text into. */
export type UnicodeForm = "NFC" | "NFD" | "NFKC" | "NFKD";

/** Code point of the first stand-in for a byte that is not printable. */
const FIRST_STAND_IN = 0x100;
const BYTE_PIECE = /^<0x([0-9A-Fa-f]{2})>$/;

const encoder = new TextEncoder();
const byteOfCharacter: ReadonlyMap<string, number> = new Map(byteLevelAlphabet());

/** Characters that stand for the bytes 0 to 255 in a byte-level vocabulary. */
const BYTE_CHARACTERS: readonly string[] = [...byteOfCharacter.keys()];

/**
 * Finds how a tokenizer writes bytes, from the `decoder` and `pre_tokenizer` of its file.
 *
 * @returns `byteLevel` (GPT-2's alphabet), `metaspace` (SentencePiece's U+2581) or `plain`.
 */
export function pieceEncoding(json: object): PieceEncoding {
  const { decoder, pre_tokenizer } = json as { decoder?: unknown; pre_tokenizer?: unknown };
  const types = componentTypes(decoder ?? pre_tokenizer);
  if (types.includes("ByteLevel")) return "byteLevel";
  return types.some((type) => ["Metaspace", "ByteFallback", "Replace"].includes(type))
    ? "metaspace"
    : "plain";
}

/** Tells whether decoding removes one space from the start of a text. */
export function hasPrefixSpace(json: object): boolean {
  const { decoder } = json as { decoder?: unknown };
  const found = components(decoder).find(({ type }) => type === "Strip" || type === "Metaspace");
  if (found === undefined) return false;
  return found.type === "Strip"
    ? found.content === " " && Number(found.start) > 0
    : found.prepend_scheme !== "never" && found.add_prefix_space !== false;
}

/**
 * Finds the Unicode form that a tokenizer puts text into.
 *
 * @returns The form, if there is one.
 */
export function unicodeForm(json: object): UnicodeForm | undefined {
  const { normalizer } = json as { normalizer?: unknown };
  const types = componentTypes(normalizer);
  return (["NFC", "NFD", "NFKC", "NFKD"] as const).find((form) => types.includes(form));
}

/**
 * Spells one piece of a vocabulary as bytes.
 *
 * @returns UTF-8, not necessarily whole characters.
 */
export function pieceBytes(piece: string, encoding: PieceEncoding): Uint8Array {
  if (encoding === "metaspace") {
    const byte = BYTE_PIECE.exec(piece)?.[1];
    if (byte !== undefined) return Uint8Array.of(Number.parseInt(byte, 16));
    return encoder.encode(piece.replaceAll("\u2581", " "));
  }
  if (encoding === "plain") return encoder.encode(piece);
  const bytes = new Uint8Array(piece.length);
  for (let i = 0; i < piece.length; i++) {
    const byte = byteOfCharacter.get(piece[i]!);
    if (byte === undefined) return encoder.encode(piece);
    bytes[i] = byte;
  }
  return bytes;
}

/** A component of `tokenizer.json`: a normalizer, pre-tokenizer, decoder or post-processor. */
type Component = { readonly type?: unknown } & Readonly<Record<string, unknown>>;

/** The component itself, or those that a sequence holds, at any depth up to four. */
function components(value: unknown, depth: number = 0): Component[] {
  if (typeof value !== "object" || value === null || depth > 4) return [];
  const component = value as Component;
  const parts = component.decoders ?? component.pretokenizers ?? component.normalizers;
  return Array.isArray(parts) ? parts.flatMap((part) => components(part, depth + 1)) : [component];
}

/** Kinds of the components in a part of `tokenizer.json`, in order. */
function componentTypes(value: unknown): string[] {
  return components(value).map(({ type }) => String(type));
}

/** GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the others follow U+0100. */
function byteLevelAlphabet(): [string, number][] {
  const alphabet: [string, number][] = [];
  let standIns = 0;
  for (let byte = 0; byte < 256; byte++) {
    const isPrintable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    const code = isPrintable ? byte : FIRST_STAND_IN + standIns++;
    alphabet.push([String.fromCharCode(code), byte]);
  }
  return alphabet;
}

/** Tells whether an entry of the vocabulary is only padding of its table. */
export function isPadding(piece: string | undefined): boolean {
  return piece === undefined || /^\[PAD\d+\]$/.test(piece);
}

/** Deepest nesting of sequences that is followed. */
const MAX_DEPTH = 8;

const GPT2_PATTERN =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** Contractions without case: the original folds all of Unicode, where U+017F is an s. */
const CONTRACTION = "(?i:'s|";
const FOLDED_CONTRACTION = "(?i:'s|'\u017f|";

/**
 * Prepares the content of `tokenizer.json` for the tokenizer library.
 *
 * @param json Content of the file; not changed.
 * @returns The same with all top-level parts present and the pre-tokenizer rewritten.
 * @throws {DataError} If a pattern is neither a string nor a regular expression.
 */
export function repairTokenizerJson(json: object): Record<string, unknown> {
  const parts = json as Component;
  checkPatterns([parts.normalizer, parts.pre_tokenizer, parts.decoder], 0);
  return {
    ...parts,
    added_tokens: parts.added_tokens ?? [],
    normalizer: parts.normalizer ?? null,
    pre_tokenizer: dropUnknownBytes(parts, repair(parts.pre_tokenizer ?? null, 0)),
    post_processor: parts.post_processor ?? null,
    decoder: parts.decoder ?? null,
  };
}

function repair(value: unknown, depth: number): unknown {
  if (typeof value !== "object" || value === null || depth > MAX_DEPTH) return value;
  const component = value as Component;
  if (component.type === "Sequence" && Array.isArray(component.pretokenizers)) {
    const pretokenizers = component.pretokenizers.map((part) => repair(part, depth + 1));
    return { ...component, pretokenizers };
  }
  if (component.type === "Digits") {
    return split(component.individual_digits === true ? "\\p{N}" : "\\p{N}+");
  }
  if (component.type === "ByteLevel") return repairByteLevel(component);
  if (component.type === "Split") return repairSplit(component);
  return component;
}

/**
 * Removes bytes that the vocabulary lacks before merging, so that their neighbors merge as in the
 * original; the library removes them afterwards.
 */
function dropUnknownBytes({ model }: Component, preTokenizer: unknown): unknown {
  const { type, vocab, unk_token, byte_fallback } = (model ?? {}) as Component;
  const hasSubstitute = typeof unk_token === "string" || byte_fallback === true;
  if (type !== "BPE" || hasSubstitute || !componentTypes(preTokenizer).includes("ByteLevel")) {
    return preTokenizer;
  }
  const unknown = BYTE_CHARACTERS.filter((character) => !Object.hasOwn(vocab as object, character));
  if (unknown.length === 0) return preTokenizer;
  const codes = unknown.map((character) =>
    `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`
  );
  const drop = { type: "Replace", pattern: { Regex: `[${codes.join("")}]` }, content: "" };
  return { type: "Sequence", pretokenizers: [preTokenizer, drop] };
}

/** The library prints a warning and continues without a pattern that it cannot read. */
function checkPatterns(components: readonly unknown[], depth: number): void {
  for (const value of components) {
    if (typeof value !== "object" || value === null) continue;
    const { pattern, pretokenizers, normalizers, decoders } = value as Component;
    const { Regex, String } = (pattern ?? {}) as Component;
    if (pattern !== undefined && typeof Regex !== "string" && typeof String !== "string") {
      throw new DataError(
        `Cannot build a tokenizer: a pattern must have a Regex or a String: current value is ${
          JSON.stringify(pattern)
        }`,
      );
    }
    const parts = [pretokenizers, normalizers, decoders].filter(Array.isArray).flat();
    if (depth < MAX_DEPTH) checkPatterns(parts, depth + 1);
  }
}

/** With a prefix space the order of the two steps matters, so that case is left to the library. */
function repairByteLevel(component: Component): Component {
  if (component.use_regex === false || component.add_prefix_space === true) return component;
  const bytes = { ...component, use_regex: false };
  return { type: "Sequence", pretokenizers: [split(GPT2_PATTERN), bytes] };
}

function repairSplit(component: Component): Component {
  const pattern = component.pattern as Component | null | undefined;
  if (typeof pattern?.Regex !== "string") return component;
  const regex = pattern.Regex.replaceAll(CONTRACTION, FOLDED_CONTRACTION);
  return { ...component, pattern: { Regex: regex } };
}

function split(regex: string): Component {
  return { type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false };
}
