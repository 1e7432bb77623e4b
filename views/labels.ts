/**
 * What tokens are called in views.
 *
 * @module
 */

/** Text of a token with line breaks made visible, and with `space` in place of spaces. */
export function visibleText(text: string, space: string = " "): string {
  return text.replaceAll("\n", "⏎").replaceAll(" ", space);
}

/** What a token is called: its position and its text, with line breaks made visible. */
export function tokenLabel(text: string | null, position: number): string {
  if (text === null) return `${position} (marker)`;
  if (text === "") return `${position} (part of a character)`;
  return `${position} “${visibleText(text)}”`;
}
