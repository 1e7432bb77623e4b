/**
 * Classes of characters as the original tokenizers know them.
 *
 * JavaScript's `\s` lacks U+0085 and has U+FEFF; its `\w` and `\d` know ASCII alone.
 *
 * @module
 */

/** White space at the start of a text. */
const LEFT = /^\p{White_Space}+/u;
const SPACE = /\p{White_Space}/u;
/** What counts as part of a word: Rust's `\w`. */
export const WORD: string = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]";

/** Length of the white space that a text begins with. */
export function leadingSpace(text: string): number {
  return LEFT.exec(text)?.[0].length ?? 0;
}

/** Length of the white space that a text ends with; all white space is of one UTF-16 unit. */
export function trailingSpace(text: string): number {
  let end = text.length;
  while (end > 0 && SPACE.test(text[end - 1]!)) end--;
  return text.length - end;
}
