/**
 * JSON as Python writes it, and what files hold that should hold something else.
 *
 * @module
 */

/**
 * Parses JSON, also with the numbers that Python's `json` adds to it.
 *
 * @returns The value; `Infinity` and `-Infinity` as numbers, `NaN` as a text, so that no reader takes it for a number or
 *   for nothing.
 * @throws {SyntaxError} If the text is not JSON.
 */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const plain = withoutPythonNumbers(text);
    if (plain === text) throw error;
    return JSON.parse(plain);
  }
}

function withoutPythonNumbers(text: string): string {
  const parts: string[] = [];
  let at = 0;
  while (at < text.length) {
    const quote = text.indexOf('"', at);
    const open = quote < 0 ? text.length : quote;
    parts.push(
      text.slice(at, open).replace(/\bInfinity\b/g, "1e999").replace(/\bNaN\b/g, '"NaN"'),
    );
    at = endOfText(text, open);
    parts.push(text.slice(open, at));
  }
  return parts.join("");
}

/** Index behind the quote that closes a text. */
function endOfText(text: string, open: number): number {
  let at = open + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at + 1;
}

/** Most characters or elements of a value in a message. */
const MAX_SHOWN = 100;

/**
 * Shows a value of a file in a message: millions of elements, or nested ones, are only counted.
 *
 * @param value Anything; texts come as they are, but cut.
 */
export function shownValue(value: unknown): string {
  if (value === undefined) return "missing";
  if (typeof value === "string") return value.slice(0, 2 * MAX_SHOWN);
  if (typeof value !== "object" || value === null) return String(value);
  if (!Array.isArray(value) && !ArrayBuffer.isView(value)) return "an object";
  const list = value as ArrayLike<unknown>;
  const isNested = Array.isArray(value) &&
    value.some((item) => typeof item === "object" && item !== null);
  if (isNested || list.length > MAX_SHOWN) return `a list of ${list.length}`;
  return `[${Array.from(list, shownValue).join(",")}]`.slice(0, 2 * MAX_SHOWN);
}

/** What files begin with that a failed download leaves behind. */
const BEGINNINGS: readonly (readonly [RegExp, string])[] = [
  [/^version https:\/\/git-lfs/, "a Git LFS pointer, in whose place `git lfs pull` puts the file"],
  [/^\s*<(!doctype|html|\?xml)/i, "a web page, perhaps saved instead of the file"],
];

/**
 * Recognizes what is often found in place of a model file.
 *
 * @param start First bytes of the file.
 * @returns Words for a message; undefined if it is nothing known.
 */
export function likelyContent(start: Uint8Array | string): string | undefined {
  const text = typeof start === "string"
    ? start.slice(0, LIKELY_BYTES)
    : new TextDecoder().decode(start.subarray(0, LIKELY_BYTES));
  return BEGINNINGS.find(([pattern]) => pattern.test(text))?.[1];
}

/** Bytes that are enough to recognize a file. */
export const LIKELY_BYTES = 64;
