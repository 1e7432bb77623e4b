/**
 * How `tokenizer.json` maps pieces to bytes.
 *
 * @module
 */

import { type Component, componentsOf, unsupported } from "./components.ts";
import { normalizersOf } from "./normalizers.ts";

/** How a vocabulary writes bytes as text. */
export type PieceEncoding = "byteLevel" | "metaspace" | "plain";

/** Unicode forms that a tokenizer may put text into. */
export type UnicodeForm = "NFC" | "NFD" | "NFKC" | "NFKD";

/** SentencePiece's stand-in for a space. */
const METASPACE = "\u2581";
/** Code point of the first stand-in for a byte that is not printable. */
const FIRST_STAND_IN = 0x100;
const BYTE_PIECE = /^<0x([0-9A-Fa-f]{2})>$/;

const encoder = new TextEncoder();
const byteOfCharacter: ReadonlyMap<string, number> = new Map(byteLevelAlphabet());

/** Characters that stand for the bytes 0 to 255 in a byte-level vocabulary. */
export const BYTE_CHARACTERS: readonly string[] = [...byteOfCharacter.keys()];

/**
 * Finds how a tokenizer writes bytes, from the `decoder` and `pre_tokenizer` of its file.
 *
 * @throws {DataError} If decoding does something that is not supported.
 * @returns `byteLevel` (GPT-2's alphabet), `metaspace` (SentencePiece's U+2581) or `plain`.
 */
export function pieceEncoding(json: object): PieceEncoding {
  const { decoder, pre_tokenizer } = json as { decoder?: unknown; pre_tokenizer?: unknown };
  const decoders = componentsOf(decoder, "decoder", "decoders");
  checkDecoder(decoders);
  const found = decoders.length > 0
    ? decoders
    : componentsOf(pre_tokenizer, "pre_tokenizer", "pretokenizers");
  const types = found.map(({ type }) => String(type));
  if (types.includes("ByteLevel")) return "byteLevel";
  return types.some((type) => ["Metaspace", "ByteFallback", "Replace"].includes(type))
    ? "metaspace"
    : "plain";
}

/** Tells whether decoding removes one space from the start of a text. */
export function hasPrefixSpace(json: object): boolean {
  const { decoder } = json as { decoder?: unknown };
  const found = componentsOf(decoder, "decoder", "decoders").find(({ type }) =>
    type === "Strip" || type === "Metaspace"
  );
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
  const types = normalizersOf(normalizer).map(({ type }) => type);
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

/**
 * Checks that decoding does what is done here.
 *
 * @throws {DataError} If a component of `decoder` does anything else.
 */
function checkDecoder(components: readonly Component[]): void {
  for (const { type, replacement = METASPACE, pattern, content, start, stop } of components) {
    const isFine = type === "ByteLevel" || type === "ByteFallback" || type === "Fuse" ||
      type === "Metaspace" && replacement === METASPACE ||
      type === "Replace" && (pattern as Component | null)?.String === METASPACE &&
        content === " " ||
      type === "Strip" && content === " " && (start === 0 || start === 1) && stop === 0;
    if (isFine) continue;
    throw unsupported(
      `decoder must consist of ByteLevel, ByteFallback, Fuse, Metaspace with ${METASPACE}, Replace of ${METASPACE} by a space, and Strip of one space from the start`,
      { type, replacement, pattern, content, start, stop },
    );
  }
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
