/**
 * The name that a mistyped one was probably meant to be.
 *
 * @module
 */

/**
 * Finds the name that is closest to a word.
 *
 * @param word What was typed.
 * @param names What could have been meant.
 * @returns A name that begins with the word or needs few edits of it; undefined if none does.
 */
export function nearest(word: string, names: readonly string[]): string | undefined {
  const ranked = names.map((name) => ({ name, edits: edits(word, name) }))
    .sort((one, other) => one.edits - other.edits);
  const most = Math.max(1, Math.floor(word.length / 3));
  const [best] = ranked;
  if (best !== undefined && best.edits <= most) return best.name;
  return word.length < 3 ? undefined : names.find((name) => name.startsWith(word));
}

/** Letters to insert, delete, replace or swap with a neighbor, where nothing is edited twice. */
function edits(from: string, to: string): number {
  const rows = [Array.from({ length: to.length + 1 }, (_, column) => column)];
  for (let row = 1; row <= from.length; row++) {
    const costs = rows[row] = [row];
    for (let column = 1; column <= to.length; column++) {
      const isSame = from[row - 1] === to[column - 1];
      const isSwap = from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      costs[column] = Math.min(
        rows[row - 1]![column]! + 1,
        costs[column - 1]! + 1,
        rows[row - 1]![column - 1]! + (isSame ? 0 : 1),
        isSwap ? rows[row - 2]![column - 2]! + 1 : Infinity,
      );
    }
  }
  return rows[from.length]![to.length]!;
}
