/**
 * Unigram: the cut of a word whose pieces have the highest sum of scores.
 *
 * @see {@link https://arxiv.org/abs/1804.10959 | Subword Regularization, section 3.2}
 * @module
 */

import { byteTokens, type WordModel } from "./bpe.ts";
import { type Component, unsupported } from "./components.ts";

/** What an unknown character scores below the lowest of all pieces. */
const UNKNOWN_PENALTY = 10;
/** Longest piece, in UTF-16 units: each place of a word is the start of as many lookups. */
const MAX_LENGTH = 256;

/**
 * Builds the model of a tokenizer.
 *
 * @param model `model` of `tokenizer.json`, of type Unigram.
 * @param ids Ids of the pieces.
 * @throws {DataError} If the vocabulary is malformed.
 */
export function buildUnigram(model: Component, ids: ReadonlyMap<string, number>): WordModel {
  const { byte_fallback, unk_id: unknown, vocab } = model;
  const isEntry = (entry: unknown) =>
    Array.isArray(entry) && typeof entry[0] === "string" && entry[0].length <= MAX_LENGTH &&
    Number.isFinite(entry[1]);
  if (!Array.isArray(vocab) || vocab.length === 0 || !vocab.every(isEntry)) {
    throw unsupported(
      `model.vocab of a Unigram must list pieces of at most ${MAX_LENGTH} characters with scores`,
      typeof vocab,
    );
  }
  if (!Number.isInteger(unknown) || vocab[Number(unknown)] === undefined) {
    throw unsupported("model.unk_id must be an entry of the vocabulary", unknown);
  }
  const scores = Float64Array.from(vocab, ([, score]) => score);
  const longest = vocab.reduce((most, [piece]) => Math.max(most, piece.length), 1);
  const lowest = scores.reduce((least, score) => Math.min(least, score)) - UNKNOWN_PENALTY;
  const scored = { ids, scores, longest, lowest };
  return (word) =>
    bestPieces(word, scored).flatMap((piece) => {
      const id = ids.get(piece);
      if (id !== undefined) return [id];
      const bytes = byte_fallback === true ? byteTokens(piece, ids) : undefined;
      return bytes ?? [Number(unknown)];
    });
}

/** Pieces and what they score. */
interface Scored {
  readonly ids: ReadonlyMap<string, number>;
  readonly scores: Float64Array;
  readonly longest: number;
  /** Score of an unknown character. */
  readonly lowest: number;
}

/** The pieces of the best cut; unknown characters side by side are one piece. */
function bestPieces(word: string, { ids, scores, longest, lowest }: Scored): string[] {
  const best = new Float64Array(word.length + 1).fill(-Infinity);
  const starts = new Int32Array(word.length + 1).fill(-1);
  const isUnknown = new Uint8Array(word.length + 1);
  best[0] = 0;
  const offer = (start: number, end: number, score: number, unknown: number) => {
    if (starts[end]! >= 0 && best[start]! + score <= best[end]!) return;
    best[end] = best[start]! + score;
    starts[end] = start;
    isUnknown[end] = unknown;
  };
  for (let start = 0; start < word.length;) {
    const width = word.codePointAt(start)! > 0xffff ? 2 : 1;
    let hasCharacter = false;
    for (let length = 1; length <= longest && start + length <= word.length; length++) {
      const id = ids.get(word.slice(start, start + length));
      if (id === undefined || id >= scores.length) continue;
      offer(start, start + length, scores[id]!, 0);
      if (length === width) hasCharacter = true;
    }
    if (!hasCharacter) offer(start, start + width, lowest, 1);
    start += width;
  }
  const pieces: string[] = [];
  let wasUnknown = false;
  for (let end = word.length; end > 0; end = starts[end]!) {
    const piece = word.slice(starts[end]!, end);
    if (wasUnknown && isUnknown[end] === 1) pieces.push(piece + pieces.pop()!);
    else pieces.push(piece);
    wasUnknown = isUnknown[end] === 1;
  }
  return pieces.reverse();
}
