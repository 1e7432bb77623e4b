/**
 * Merge rules of a SentencePiece BPE vocabulary, recovered from the scores of its tokens.
 *
 * @module
 */

/** A merge of two tokens, before the merges are put in order. */
interface Merge {
  readonly left: string;
  readonly right: string;
  readonly score: number;
}

/**
 * Lists every way to build a token from two others, best score first.
 *
 * SentencePiece merges the neighbors whose joint token scores highest. Written as BPE merges that
 * is every split of every token into two tokens, by falling score; equal scores prefer a longer left
 * part, then a longer right part, as the converter of Hugging Face does.
 *
 * @param tokens Token texts, [vocabulary].
 * @param scores Score of each token, [vocabulary].
 * @returns Pairs in order of application.
 */
export function mergesFromScores(
  tokens: readonly string[],
  scores: ArrayLike<number>,
): [string, string][] {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges: Merge[] = [];
  for (const [token, id] of ids) merges.push(...splits(token, scores[id]!, ids));
  merges.sort((a, b) =>
    b.score - a.score || length(b.left) - length(a.left) || length(b.right) - length(a.right)
  );
  return merges.map(({ left, right }) => [left, right]);
}

function splits(token: string, score: number, ids: ReadonlyMap<string, number>): Merge[] {
  const found: Merge[] = [];
  let end = 0;
  for (const character of token) {
    end += character.length;
    const left = token.slice(0, end);
    const right = token.slice(end);
    if (right !== "" && ids.has(left) && ids.has(right)) found.push({ left, right, score });
  }
  return found.sort((a, b) =>
    ids.get(b.left)! - ids.get(a.left)! || ids.get(b.right)! - ids.get(a.right)!
  );
}

function length(text: string): number {
  return [...text].length;
}
