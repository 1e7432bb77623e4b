/**
 * Bytes as text.
 *
 * @module
 */

/**
 * Formats bytes in the largest unit that leaves a number of at least one.
 *
 * @returns For example `512 B`, `4.5 KiB`, `1.0 MiB`, `2.31 GiB`.
 */
export function bytesText(bytes: number): string {
  if (bytes < 1024) return `${bytes.toFixed(bytes % 1 === 0 ? 0 : 1)} B`;
  if (bytes < 2 ** 20) return `${(bytes / 1024).toFixed(1)} KiB`;
  return bytes < 2 ** 30
    ? `${(bytes / 2 ** 20).toFixed(1)} MiB`
    : `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}
