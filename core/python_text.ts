/**
 * White space and words as Python's `str` and `re` define them, for scores and templates written in Python.
 *
 * JavaScript's `\s` lacks U+001C to U+001F and U+0085 and has U+FEFF; its `\b` and `\w` know ASCII alone.
 *
 * @module
 */

/** Inside of a character class: what `str.isspace()` accepts, and `\s` in Python. */
export const PYTHON_SPACE: string =
  "\\t-\\r\\x1c- \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

/** Inside of a character class with the flag `u`: what `\w` matches in Python. */
export const PYTHON_WORD: string = "\\p{L}\\p{N}_";

const SPACES = new RegExp(`[${PYTHON_SPACE}]+`, "u");
const LEFT = new RegExp(`^[${PYTHON_SPACE}]+`, "u");

/**
 * Splits a text at white space, as `str.split()` does.
 *
 * @returns The words; none of them is empty.
 */
export function splitWords(text: string): string[] {
  return text.split(SPACES).filter((word) => word !== "");
}

/** Removes white space from the start of a text, as `str.lstrip()` does. */
export function stripStart(text: string): string {
  return text.replace(LEFT, "");
}

/** Removes white space from the end of a text, as `str.rstrip()` does. */
export function stripEnd(text: string): string {
  let end = text.length;
  while (end > 0 && SPACES.test(text[end - 1]!)) end--;
  return text.slice(0, end);
}

/** Removes white space from both ends of a text, as `str.strip()` does. */
export function strip(text: string): string {
  return stripEnd(stripStart(text));
}
