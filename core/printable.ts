/**
 * Text of files and servers as a terminal may show it.
 *
 * @module
 */

/** Control characters but tabs and ends of lines; and those that reorder what follows. */
const UNPRINTABLE = /[^\P{Cc}\t\n\r]|\r(?!\n)|[\u202a-\u202e\u2066-\u2069]/gu;

/**
 * Replaces what would act on a terminal instead of being shown, as in `\u001b` for the escape character.
 *
 * Tabs and ends of lines stay. Output of `JSON.stringify` remains JSON of the same value.
 *
 * @param text Any text.
 */
export function printableText(text: string): string {
  return text.replace(
    UNPRINTABLE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
