/**
 * Text in lines of a bounded width.
 *
 * @module
 */

/**
 * Breaks a text between words.
 *
 * @param text Words with a space between them.
 * @param width Most characters of a line, unless a word is longer.
 * @param indent Begins every line but the first.
 * @returns At least one line.
 */
export function wrapText(text: string, width: number, indent = ""): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last === undefined) lines.push(word);
    else if (last.length + 1 + word.length > width) lines.push(indent + word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}
