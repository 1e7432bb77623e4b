/**
 * Numbers with their nouns.
 *
 * @module
 */

/**
 * Writes a number with its noun.
 *
 * @param count The number.
 * @param noun What is counted, as for one.
 * @param plural As for several; with an s if left out.
 * @returns For example `1 item`, `2 items`, `0 entries`.
 */
export function counted(count: number, noun: string, plural = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : plural}`;
}
