/**
 * Decodes the many short texts of a vocabulary.
 *
 * `TextDecoder` wants a view of each, and in browsers its strings lie outside of JavaScript's heap, where they take several
 * times the memory.
 *
 * @module
 */

/** Longest text in bytes that is decoded here. */
const LONGEST = 128;

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * Decodes UTF-8 as `TextDecoder` does.
 *
 * @param bytes Where the text is.
 * @param begin Its first byte.
 * @param end One past its last byte.
 */
export function decodeShort(bytes: Uint8Array, begin: number, end: number): string {
  const units = end - begin > LONGEST ? undefined : utf16Units(bytes, begin, end);
  return units ? String.fromCharCode(...units) : decoder.decode(bytes.subarray(begin, end));
}

/** UTF-16 of a text without characters of four bytes; undefined if there are any, or it is not valid. */
function utf16Units(bytes: Uint8Array, begin: number, end: number): number[] | undefined {
  const units: number[] = [];
  /** Bits of a continuation byte; NaN if it is none. */
  const rest = (at: number) => at < end && (bytes[at]! & 0xc0) === 0x80 ? bytes[at]! & 0x3f : NaN;
  for (let at = begin; at < end;) {
    const first = bytes[at]!;
    const length = first < 0x80 ? 1 : first < 0xe0 ? 2 : 3;
    const unit = length === 1
      ? first
      : length === 2
      ? (first - 0xc0) * 64 + rest(at + 1)
      : (first - 0xe0) * 4096 + rest(at + 1) * 64 + rest(at + 2);
    const least = length === 1 ? 0 : length === 2 ? 0x80 : 0x800;
    // Lone continuation bytes come out below, four bytes above, what fits.
    const isSurrogate = unit >= 0xd800 && unit < 0xe000;
    if (!(unit >= least && unit <= 0xffff) || isSurrogate) return undefined;
    units.push(unit);
    at += length;
  }
  return units;
}
