/**
 * Token pieces as bytes: what each entry of a vocabulary stands for in UTF-8.
 *
 * @module
 */

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
export const BYTE_CHARACTERS: readonly string[] = [...byteOfCharacter.keys()];

/**
 * Finds how a tokenizer writes bytes, from the `decoder` and `pre_tokenizer` of its file.
 *
 * @param json Content of `tokenizer.json`.
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

/**
 * Tells whether decoding removes one space from the start of a text.
 *
 * @param json Content of `tokenizer.json`.
 * @returns Whether encoding put it there.
 */
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
 * @param json Content of `tokenizer.json`.
 * @returns The form; undefined if there is none.
 */
export function unicodeForm(json: object): UnicodeForm | undefined {
  const { normalizer } = json as { normalizer?: unknown };
  const types = componentTypes(normalizer);
  return (["NFC", "NFD", "NFKC", "NFKD"] as const).find((form) => types.includes(form));
}

/**
 * Spells one piece of a vocabulary as bytes.
 *
 * @param piece Entry of the vocabulary.
 * @param encoding How the vocabulary writes bytes.
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

/** A component of `tokenizer.json`. */
type Component = { readonly type?: unknown } & Readonly<Record<string, unknown>>;

/** The component itself, or those that a sequence holds, at any depth up to four. */
function components(value: unknown, depth: number = 0): Component[] {
  if (typeof value !== "object" || value === null || depth > 4) return [];
  const component = value as Component;
  const parts = component.decoders ?? component.pretokenizers ?? component.normalizers;
  return Array.isArray(parts) ? parts.flatMap((part) => components(part, depth + 1)) : [component];
}

/**
 * Lists the kinds of components in a part of `tokenizer.json`.
 *
 * @param value A component, a sequence of them, or nothing.
 * @returns Values of `type`, in order.
 */
export function componentTypes(value: unknown): string[] {
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

/** Tells whether an id of the vocabulary only fills up its table. */
export function isPadding(piece: string | undefined): boolean {
  return piece === undefined || /^\[PAD\d+\]$/.test(piece);
}
